"""Hostile config.yaml files: what they hold, and the words with which they must be refused."""

from collections.abc import Callable
from typing import Any

Change = Callable[[dict[str, Any]], None]

_LAUGHS = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
_MERGES = "m0: &m0 {k: v}\n" + "".join(
    f"m{i}: &m{i}\n  <<: [{', '.join([f'*m{i - 1}'] * 9)}]\n" for i in range(1, 10)
)

# Whole files. They are bytes, because not all of them are text.
FILES: dict[str, tuple[bytes, str]] = {
    "python/object/apply": (
        b"!!python/object/apply:os.system ['touch owned']",
        "python/object/apply:os.system",
    ),
    "python/name": (b"head: !!python/name:os.system", "python/name:os.system"),
    "python/object/new": (b"seed: !!python/object/new:subprocess.Popen [[touch, owned]]", "subprocess.Popen"),
    "python/module": (b"seed: !!python/module:stranger", "python/module:stranger"),
    "a billion laughs": (_LAUGHS.encode(), r"alias \*a0 is refused"),
    "a billion merges": (_MERGES.encode(), r"alias \*m0 is refused"),
    "an alias to itself": (b"a: &a [*a]", r"alias \*a is refused"),
    "deep brackets": (b"a: " + b"[" * 2_000, "nested more than 32 levels"),
    "deep mappings": ("".join(f"{' ' * i}a:\n" for i in range(200)).encode(), "nested more than 32 levels"),
    "a list": (b"- os.system\n- touch owned", "holds no config"),
    "a word": (b"os.system", "holds no config"),
    "nothing": (b"", "holds no config"),
    "no text": (b"\x80\x04\x95cposix\nsystem\n", "no UTF-8 text"),
    "megabytes": (b"a: b\n" * 1_000_000, "it has more than 4194304 bytes"),
    "a day that is none": (b"seed: 2024-99-99", "cannot be read as YAML: month must be"),
    "a number of 5000 digits": (b"seed: " + b"9" * 5000, "cannot be read as YAML: Exceeds the limit"),
    "one key twice": (b"seed: 1\nseed: 2", "seed stands twice"),
    "a key that is no name": (b"? {a: b}\n: c", "unhashable key"),
    "a null byte": (b"seed: \x00", "cannot be read as YAML"),
}


def _put(place: str, value: Any) -> Change:
    """Put a value at `group.key` of a config."""
    *groups, key = place.split(".")

    def change(config: dict[str, Any]) -> None:
        node = config
        for group in groups:
            node = node[group]
        node[key] = value

    return change


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# Changes to a config that works. None of them is read from text, so that nothing but the recipe can refuse.
CHANGES: dict[str, tuple[Change, str]] = {
    "a function": (_put("head._target_", "os.system"), r"head\._target_=os\.system is refused"),
    "an alias of a module": (
        _put("head._target_", "logging.os.system"),
        r"head\._target_=logging\.os\.system is refused",
    ),
    "a module inside an allowed one": (
        _put("trainer._target_", "mlc.training.files.os.system"),
        r"mlc\.training\.files\.os\.system does not exist",
    ),
    "somebody else's class inside an allowed module": (
        _put("trainer._target_", "mlc.training.files.Path"),
        r"mlc\.training\.files\.Path is refused: it is no TrainerSettings",
    ),
    "a function of ours": (
        _put("dataset._target_", "mlc.data.archives.read_tar_gz"),
        r"read_tar_gz is refused: it is no DatasetSource",
    ),
    "a module of ours that configs do not name": (
        _put("head._target_", "mlc.experiment.compose.compose_runs"),
        r"compose_runs is refused",
    ),
    "globals of a method": (
        _put("optimizer._target_", "torch.optim.Optimizer.__init__.__globals__"),
        r"__globals__ does not exist",
    ),
    "torch.load": (_put("optimizer._target_", "torch.load"), r"optimizer\._target_=torch\.load is refused"),
    "torch.hub by torch.optim": (
        _put("optimizer._target_", "torch.optim.adam.torch"),
        r"torch\.optim\.adam\.torch is refused",
    ),
    "a stranger's module": (
        _put("head._target_", "stranger.Head"),
        r"stranger\.Head is refused: .* needs trust=stranger, and no config or run folder can say that",
    ),
    "trust in the config": (_put("trust", "stranger"), "trust is no part of a config"),
    "trust as a choice": (_put("choices", {"trust": ["stranger"]}), r"choices=.*trust.* is not allowed"),
    "instantiate": (
        _put("head._target_", "hydra.utils.instantiate"),
        r"hydra\.utils\.instantiate is refused",
    ),
    "a target in an option": (
        _put("backbone.dropout", {"_target_": "os.system", "_args_": ["touch owned"]}),
        r"backbone\.dropout\._args_ is refused",
    ),
    "a target in a list": (
        _put("optimizer.betas", [{"_target_": "os.system", "command": "touch owned"}, 0.9]),
        r"optimizer\.betas=.*os\.system.* is not allowed",
    ),
    "a target in a join's picture": (
        _put("join.picture._target_", "subprocess.Popen"),
        r"join\.picture\._target_=subprocess\.Popen is refused",
    ),
    "arguments": (_put("head._args_", ["touch owned"]), r"head\._args_ is refused"),
    "recursion": (_put("head._recursive_", True), r"head\._recursive_ is refused"),
    "conversion": (_put("head._convert_", "object"), r"head\._convert_ is refused"),
    "partial with a value": (_put("head._partial_", "os.system"), r"head\._partial_=os\.system is refused"),
    "a target that is a list": (
        _put("head._target_", ["os.system"]),
        r"head\._target_=\['os\.system'\] is refused",
    ),
    "a target that is a mapping": (
        _put("head._target_", {"_target_": "os.system"}),
        r"head\._target_=.* is refused",
    ),
    "no target": (_put("head", {"command": "touch owned"}), "head has no _target_"),
    "a group that is a word": (_put("head", "os.system"), "head has no _target_"),
    "a group that is a list": (_put("loss", ["os.system"]), "loss has no _target_"),
    "an optional group that is a word": (_put("text", "os.system"), r"text=os\.system is not allowed"),
    "choices that are a list": (_put("choices", ["os.system"]), r"choices=.*os\.system.* is not allowed"),
    "a special name as an option": (_put("head.__class__", "os.system"), r"head\.__class__ is no option"),
    "self as an option": (_put("head.self", "os.system"), r"head\.self is no option"),
    "a resolver": (_put("seed", "${oc.env:HOME}"), r"seed=\$\{oc\.env:HOME\} is not allowed"),
    "a number of 10000 bits": (_put("seed", 2**10_000), "seed=.* is not allowed: no number"),
    "a negative one": (
        _put("optimizer.lr", -(2**20_000)),
        r"optimizer\.lr=a int too long to show is not allowed: no number",
    ),
    "a number as a key": (_put("head", {1: 2}), "head has the key 1"),
    "deep nesting": (_put("backbone.widths", _nested(900)), "nested more than 32 levels"),
    "too many values": (_put("backbone.widths", [1] * 200_001), "more than 200000 values"),
    "another network than the file's": (_put("backbone.widths", [4096]), "asks for a larger network"),
    "a network of terabytes": (_put("backbone.widths", [2**40]), "too large|larger network"),
    "layers without end": (_put("backbone.widths", [8] * 1_000), "asks for a larger network"),
    "a width that overflows": (_put("backbone.widths", [2**62]), r"too large|larger network"),
    "signs for the terminal": (_put("seed", "\x1b]0;owned\x07"), r"seed=\\x1b\]0;owned\\x07 is not allowed"),
}
