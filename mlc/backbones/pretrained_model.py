"""A pretrained model of transformers: what it is, and its weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from mlc.errors import UserError
from mlc.paths import home_path

_CONFIG, _WEIGHTS = "config.json", "model*.safetensors*"
_CODE = frozenset({"auto_map", "attn_implementation", "experts_implementation", "quantization_config"})
_SECONDS = 10  # until the hub must have answered


def build_model(tree: Mapping[str, Any]) -> nn.Module:
    """The model that the content of a config.json describes, with random weights and without its pooler.

    Raises:
        UserError: transformers is not installed, or does not know such a model.
    """
    transformers = _transformers()
    # A config may name code on the hub, by auto_map and by the name of an attention. None of it is fetched.
    options = {key: value for key, value in tree.items() if key not in _CODE and not key.startswith("_")}
    try:
        config = transformers.AutoConfig.for_model(options.pop("model_type"), **options)
        if getattr(config, "use_pretrained_backbone", False):
            raise ValueError("it is built around the weights of another model")
        model: nn.Module = transformers.AutoModel.from_config(
            config, dtype=torch.float32, trust_remote_code=False
        )
    except (KeyError, ValueError) as error:
        raise UserError(
            f"transformers cannot build the pretrained model ({_first_line(error)}): choose another "
            f"backbone.model"
        ) from error
    pooler = getattr(model, "pooler", None)
    if isinstance(pooler, nn.Module) and list(pooler.parameters()):
        model.register_module("pooler", None)  # nothing here reads it, and such models run without
    return model


def load_weights(model: nn.Module, source: str) -> None:
    """Put pretrained weights in place.

    Args:
        model: from `build_model`.
        source: a folder with config.json and safetensors, or a name on huggingface.co.

    Raises:
        UserError: the weights cannot be read, or are those of another model.
    """
    transformers = _transformers()
    with _quiet(transformers):
        try:
            loaded, report = transformers.AutoModel.from_pretrained(
                _folder(source, [_CONFIG, _WEIGHTS]),
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(_unreadable(source, error)) from error
    lacking = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if lacking:
        raise UserError(
            f"backbone.model={source} lacks {len(lacking)} of its weights, such as {lacking[0]}: choose a "
            f"model that has them all"
        )
    weights = {key: value for key, value in loaded.state_dict().items() if not key.startswith("pooler.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"the weights of backbone.model={source} are those of another model than the one described with "
            f"the data: let text.model and backbone.model be the same"
        ) from error


def read_config(source: str) -> dict[str, Any]:
    """The content of the config.json of a model.

    Args:
        source: a folder, or a name on huggingface.co.

    Raises:
        UserError: it cannot be read.
    """
    transformers = _transformers()
    try:
        config = transformers.AutoConfig.from_pretrained(
            _folder(source, [_CONFIG]), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise UserError(_unreadable(source, error)) from error
    tree: dict[str, Any] = config.to_dict()
    return tree


def _transformers() -> Any:
    try:
        import transformers  # heavy, and an extra
    except ImportError:
        raise UserError(
            'a pretrained backbone needs the package transformers: run pip install "mlc[hf]"'
        ) from None
    return transformers


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the bars and warnings of transformers; what matters is checked here."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _folder(source: str, wanted: list[str]) -> Path:
    """The folder of a model with files of these patterns: as named, from the hub's cache, or from the hub."""
    local = home_path(source)
    if local.is_dir():
        return local
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(source, allow_patterns=wanted, local_files_only=True))
        if constants.HF_HUB_OFFLINE or all(any(cached.glob(pattern)) for pattern in wanted):
            return cached
    except LocalEntryNotFoundError:
        if constants.HF_HUB_OFFLINE:
            raise
    return Path(snapshot_download(source, allow_patterns=wanted, etag_timeout=_SECONDS))


def _unreadable(source: str, error: Exception) -> str:
    if home_path(source).is_dir():
        return (
            f"backbone.model={source} cannot be read ({_first_line(error)}): the folder must hold "
            f"config.json and the weights as model.safetensors"
        )
    return (
        f"backbone.model={source} is no folder here, and the Hugging Face hub does not give it: put "
        f"config.json and model.safetensors of the model into a folder and set backbone.model to that folder"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
