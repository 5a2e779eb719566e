"""Sentences on the training texts that a reader of the results should know."""

from mlc.data.notes import counted


def cut_note(n_cut: int, n_texts: int, max_tokens: int) -> list[str]:
    """The sentence on texts that are longer than is read; none where there are none."""
    if not n_cut:
        return []
    texts, are = counted(n_texts, "training text"), "is" if n_cut == 1 else "are"
    return [f"{n_cut} of {texts} {are} longer than {max_tokens} tokens and {are} cut there."]


def empty_note(n_empty: int, n_texts: int, *, one: str = "is empty", many: str = "are empty") -> list[str]:
    """The sentence on texts that have nothing to read; none where there are none.

    Args:
        n_empty: how many there are.
        n_texts: of so many.
        one: what one of them is.
        many: what several are.
    """
    return (
        [f"{n_empty} of {counted(n_texts, 'training text')} {one if n_empty == 1 else many}."]
        if n_empty
        else []
    )
