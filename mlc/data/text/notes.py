"""Sentences on the training texts that a reader of the results should know."""


def cut_note(n_cut: int, n_texts: int, max_tokens: int) -> list[str]:
    """The sentence on texts that are longer than is read; none where there are none."""
    if not n_cut:
        return []
    return [f"{n_cut} of {n_texts} training texts are longer than {max_tokens} tokens and are cut there."]


def empty_note(n_empty: int, n_texts: int, *, what: str = "are empty") -> list[str]:
    """The sentence on texts that have nothing to read; none where there are none."""
    return [f"{n_empty} of {n_texts} training texts {what}."] if n_empty else []
