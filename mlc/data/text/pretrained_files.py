"""The files of a pretrained model that say how it reads texts: from a folder, the hub's cache or the hub."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlc.errors import UserError
from mlc.paths import home_path

_SECONDS = 10  # until the hub must have answered
_WANTED = ["config.json", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.model"]


@dataclass(frozen=True)
class PretrainedFiles:
    """What a model's files say.

    Args:
        tokenizer: the tokeniser as transformers loads it.
        config: the content of config.json.
    """

    tokenizer: Any
    config: dict[str, Any]


def read_pretrained(model: str) -> PretrainedFiles:
    """Read the tokeniser and the config of a model; code that comes with a model is never run.

    Args:
        model: a folder, or a name on the Hugging Face hub.

    Raises:
        UserError: the extra `hf` is not installed, or the files are missing, unreadable or not for texts.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise missing_extra() from None
    here = home_path(model)
    folder = here if here.is_dir() else _from_hub(model)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever transformers and tokenizers raise on files they cannot read
        raise UserError(
            f"text.model={model}: {folder} has no config.json and tokeniser that can be read "
            f"({_line(error)}): put config.json, tokenizer.json and tokenizer_config.json of a model for "
            "texts there"
        ) from error
    if not tokenizer.is_fast:
        raise UserError(
            f"text.model={model}: its tokeniser exists in Python only: choose a model with a tokenizer.json"
        )
    return PretrainedFiles(tokenizer, config)


def missing_extra() -> UserError:
    """What to say where transformers or tokenizers is not installed."""
    return UserError("text=pretrained needs packages that are not installed: pip install 'mlc[hf]'")


def _from_hub(model: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        try:
            return Path(snapshot_download(model, allow_patterns=_WANTED, local_files_only=True))
        except LocalEntryNotFoundError:
            if constants.HF_HUB_OFFLINE:
                raise
            return Path(snapshot_download(model, allow_patterns=_WANTED, etag_timeout=_SECONDS))
    except (OSError, ValueError) as error:
        raise UserError(
            f"text.model={model} is no folder here, and the Hugging Face hub does not give it "
            f"({_line(error)}): put config.json, tokenizer.json, tokenizer_config.json and model.safetensors "
            "of the model into a folder and set text.model to that folder"
        ) from error


def _line(error: Exception) -> str:
    """The first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
