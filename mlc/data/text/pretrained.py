"""Texts as the tokens of a pretrained model, by its own tokeniser."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, MinLen
from torch import Tensor

from mlc.data.text.encoder import FittedText, TextEncoder
from mlc.data.text.notes import cut_note, empty_note
from mlc.data.text.packing import pack, unpack
from mlc.data.text.pretrained_files import PretrainedFiles, missing_extra, read_pretrained
from mlc.data.text.ragged import token_rows
from mlc.errors import UserError
from mlc.inputs import InputSpec
from mlc.rows import TokenRows

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_CHUNK = 8192  # texts that are tokenised at once


class FittedPretrained(FittedText):
    """A tokeniser that was made with a model, and what that model is.

    Args:
        tokenizer: the tokeniser as the JSON text of the package tokenizers, which cuts texts to max_tokens.
        encoder: the model's config as JSON text.
        max_tokens: a text is cut to so many tokens, with those that the model puts before and after it.
        padding: the id that fills a text up to the longest of its batch.
        unknown: the id that stands for a text without tokens.
        notes: sentences on the training texts.
    """

    KIND = "pretrained"

    def __init__(
        self,
        tokenizer: str,
        *,
        encoder: str,
        max_tokens: int,
        padding: int,
        unknown: int,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(notes=notes)
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.max_tokens = max_tokens
        self.padding = padding
        self.unknown = unknown

    def encode(self, texts: Sequence[str]) -> TokenRows:
        """N texts as ids of the pretrained tokeniser, with its marks for the beginning and the end."""
        tokenizer = _load(self.tokenizer)
        spec = InputSpec(
            "tokens",
            (self.max_tokens,),
            vocabulary=tokenizer.get_vocab_size(with_added_tokens=True),
            padding=self.padding,
            encoder=self.encoder,
        )
        return token_rows((found.ids or [self.unknown] for found in _encodings(tokenizer, texts)), spec)

    def state(self) -> dict[str, Tensor]:
        """The tokeniser and the model's config: neither the model's folder nor the hub is needed again."""
        options = {"max_tokens": self.max_tokens, "padding": self.padding, "unknown": self.unknown}
        return {
            "kind": pack(self.KIND),
            "options": pack(options),
            "tokenizer": pack(self.tokenizer),
            "encoder": pack(self.encoder),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "FittedPretrained":
        """The tokeniser that `state` gave."""
        return cls(unpack(state["tokenizer"]), encoder=unpack(state["encoder"]), **unpack(state["options"]))


class Pretrained(TextEncoder):
    """Reads a text as the pretrained model does that reads it next; needs the extra `hf`.

    Nothing is fitted. Words such as [PAD] in a text are ordinary words.

    Args:
        model: folder with config.json and the files of a tokeniser, or a name on the Hugging Face hub, which
            is asked only where its files are not in the hub's own cache.
        max_tokens: a text is cut to so many tokens.
    """

    def __init__(self, *, model: Annotated[str, MinLen(1)], max_tokens: Annotated[int, Ge(1)] = 256) -> None:
        self.model = model
        self.max_tokens = max_tokens

    def fit(self, texts: Sequence[str]) -> FittedPretrained:
        """Read the tokeniser, and count the texts that it cuts.

        Raises:
            UserError: the extra or the files are missing, or the model cannot read so many tokens.
        """
        files = read_pretrained(self.model)
        tokenizer: Tokenizer = files.tokenizer.backend_tokenizer
        self._check_length(tokenizer, files)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens)
        padding, unknown = _special_ids(self.model, files.tokenizer)
        fitted = FittedPretrained(
            tokenizer.to_str(),
            encoder=json.dumps(files.config | {"_name_or_path": self.model}),
            max_tokens=self.max_tokens,
            padding=padding,
            unknown=unknown,
        )
        n_cut = sum(bool(found.overflowing) for found in _encodings(_load(fitted.tokenizer), texts))
        n_empty = sum(not text.strip() for text in texts)
        fitted.notes += cut_note(n_cut, len(texts), self.max_tokens) + empty_note(n_empty, len(texts))
        return fitted

    def _check_length(self, tokenizer: "Tokenizer", files: PretrainedFiles) -> None:
        least = tokenizer.num_special_tokens_to_add(is_pair=False) + 1
        most = min(
            files.tokenizer.model_max_length, files.config.get("max_position_embeddings") or self.max_tokens
        )
        if not least <= self.max_tokens <= most:
            raise UserError(
                f"text.max_tokens={self.max_tokens} does not fit {self.model}, which reads from {least} to "
                f"{most} tokens: choose a number between them"
            )


def _load(text: str) -> "Tokenizer":
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise missing_extra() from None
    tokenizer = Tokenizer.from_str(text)
    tokenizer.encode_special_tokens = True  # else [PAD] in a text would be padding in its midst
    return tokenizer


def _encodings(tokenizer: "Tokenizer", texts: Sequence[str]) -> Iterator["Encoding"]:
    for start in range(0, len(texts), _CHUNK):
        # Half a surrogate pair is no text that can be encoded, but JSON files may have it.
        whole = [text.encode(errors="replace").decode() for text in texts[start : start + _CHUNK]]
        yield from tokenizer.encode_batch_fast(whole)


def _special_ids(model: str, tokenizer: Any) -> tuple[int, int]:
    """The ids of padding and of what stands for a text without any token."""
    # A model that was trained without padding may be padded with the mark that ends a text: no text has it.
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if padding is None:
        raise UserError(
            f"the tokeniser of {model} has no token to pad texts with: choose an encoder such as a BERT model"
        )
    others = (known for known in (tokenizer.unk_token_id, 0, 1) if known is not None and known != padding)
    return padding, next(others)
