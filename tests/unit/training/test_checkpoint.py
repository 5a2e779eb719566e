import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from mlc.errors import UserError
from mlc.training import checkpoint
from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from tests.contract.grid import names
from tests.unit.training import tiny


def same(first: Any, second: Any) -> bool:
    """Equal in every type, shape and bit; a tuple counts as a list."""
    if isinstance(first, torch.Tensor):
        return (
            isinstance(second, torch.Tensor)
            and first.dtype == second.dtype
            and first.shape == second.shape
            and bool(torch.equal(first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8)))
        )
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and [(type(key), key) for key in first] == [(type(key), key) for key in second]
            and all(same(first[key], second[key]) for key in first)
        )
    if isinstance(first, list | tuple):
        return (
            isinstance(second, list)
            and len(first) == len(second)
            and all(same(a, b) for a, b in zip(first, second, strict=True))
        )
    if isinstance(first, float) and math.isnan(first):
        return isinstance(second, float) and math.isnan(second)
    return type(first) is type(second) and first == second


TREE: dict[str, Any] = {
    "numbers": [1, -2.5, 0.1, 2**70, math.inf, True, None, 'größe \n " \0'],
    "by_number": {0: {"step": torch.tensor(3.0)}, 1: {}, -1: []},
    "types": {
        str(dtype): torch.arange(6).reshape(2, 3).to(dtype)
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8)
    },
    "bool": torch.tensor([True, False]),
    "0-dim": torch.tensor(0.1, dtype=torch.float64),
    "empty": [torch.empty(0), torch.empty(0, 5), torch.empty(2, 0, dtype=torch.int64)],
    "odd numbers": torch.tensor([math.nan, math.inf, -math.inf, -0.0, 1e-45]),
    "nothing": {},
    "list": [[], [[torch.ones(1)]], {"$tensor": "a", "$items": [[1, 2]]}],
}

TENSORS = st.builds(
    lambda shape, dtype, seed: (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 9).to(
        dtype
    ),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]),
    st.integers(0, 9),
)
KEYS = st.one_of(st.text(st.sampled_from("ab/$'0."), max_size=3), st.integers(-2, 2))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), TENSORS)
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_size=5,
)


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "new" / "folder" / "a.safetensors", TREE)
    assert same(TREE, load_checkpoint(tmp_path / "new" / "folder" / "a.safetensors"))


@given(tree=TREES)
@settings(max_examples=60, deadline=None)
def test_any_tree_comes_back_as_it_was(
    tree: dict[Any, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    save_checkpoint(path, tree)
    assert same(tree, load_checkpoint(path))


def test_keys_that_read_alike_stay_apart(tmp_path: Path) -> None:
    ones = [torch.full((2,), float(i)) for i in range(5)]
    tree = {"a/b": ones[0], "a": {"b": ones[1]}, 1: ones[2], "1": ones[3], "l": [ones[4]], "l/0": ones[0]}
    save_checkpoint(tmp_path / "a", tree)
    assert same(tree, load_checkpoint(tmp_path / "a"))


def test_no_tensors_at_all(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", {"epoch": 3})
    assert load_checkpoint(tmp_path / "a") == {"epoch": 3}


def test_views_and_tied_tensors(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    parameter = torch.nn.Parameter(whole)
    tree = {"whole": whole, "tied": whole, "view": whole[1:, ::2], "turned": whole.T, "trained": parameter}
    save_checkpoint(tmp_path / "a", tree)
    loaded = load_checkpoint(tmp_path / "a")
    assert same({k: v.detach().contiguous() for k, v in tree.items()}, loaded)
    loaded["whole"].zero_()
    assert loaded["tied"].sum() == 66, "a change of one must not be a change of the other"


def test_what_is_loaded_is_ones_own(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", TREE)
    loaded = load_checkpoint(tmp_path / "a")
    loaded["types"]["torch.float32"].add_(1)
    save_checkpoint(tmp_path / "b", {"other": 1})
    (tmp_path / "b").replace(tmp_path / "a")
    assert float(loaded["types"]["torch.float32"].sum()) == 21
    assert load_checkpoint(tmp_path / "a") == {"other": 1}


@pytest.mark.parametrize("name", names("optimizer"))
def test_the_state_of_every_shipped_optimizer(name: str, tmp_path: Path) -> None:
    networks = [tiny.network(seed) for seed in (0, 1)]
    trained, other = (tiny.optimizer(network, name) for network in networks)
    for optimizer, network in ((trained, networks[0]), (other, networks[1])):
        for _ in range(3):
            network({"x": tiny.split().inputs["x"]}).logits_BL.square().sum().backward()
            optimizer.step()
    save_checkpoint(tmp_path / "a", {"optimizer": trained.state_dict()})
    loaded = load_checkpoint(tmp_path / "a")["optimizer"]
    assert same(trained.state_dict(), loaded)
    networks[1].load_state_dict(networks[0].state_dict())
    other.load_state_dict(loaded)
    for parameter, twin in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        twin.grad = parameter.grad.clone() if parameter.grad is not None else None
    trained.step()
    other.step()
    states = [network.state_dict() for network in networks]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


SMALL = {
    "epoch": 7,
    "weight": torch.arange(4.0),
    "none": torch.empty(0, 3),
    5: {"flag": torch.tensor([True])},
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, SMALL)
    return path


def test_cut_at_any_length_it_is_refused(small: Path) -> None:
    whole = small.read_bytes()
    for length in range(len(whole)):
        small.write_bytes(whole[:length])
        with pytest.raises(UserError, match=f"^{small} is "):
            load_checkpoint(small)
    for tail in (b"\0", b" ", whole):
        small.write_bytes(whole + tail)
        with pytest.raises(UserError):
            load_checkpoint(small)


def loads_right_or_not_at_all(path: Path) -> bool:
    """Whether a damaged file was refused; what is read must be what was written."""
    try:
        loaded = load_checkpoint(path)
    except UserError:
        return True
    assert same(SMALL, loaded)
    return False


def test_a_flipped_bit_anywhere_is_noticed(small: Path) -> None:
    whole = small.read_bytes()
    refused = 0
    for bit in range(0, 8 * len(whole), 5):  # every place in a byte has its turn
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        small.write_bytes(damaged)
        refused += loads_right_or_not_at_all(small)
    assert refused > 1.55 * len(whole)


def test_fifty_flipped_bits_are_noticed(small: Path) -> None:
    whole, generator = small.read_bytes(), random.Random(0)
    for _ in range(50):
        damaged = bytearray(whole)
        for bit in generator.sample(range(8 * len(whole)), 50):
            damaged[bit // 8] ^= 1 << bit % 8
        small.write_bytes(damaged)
        assert loads_right_or_not_at_all(small)


def header_changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the header of a safetensors file and keep the file well formed."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("/weight", {"dtype": "I32"}),
        ("/weight", {"shape": [2, 2]}),
        ("/none", {"shape": [0, 4]}),
        ("/5/flag", {"dtype": "U8"}),
    ],
)
def test_bytes_that_are_read_as_something_else_are_noticed(
    small: Path, name: str, changes: dict[str, Any]
) -> None:
    header_changed(small, lambda header: header[name].update(changes))
    with pytest.raises(UserError, match="checksum"):
        load_checkpoint(small)


def test_a_renamed_tensor_is_noticed(small: Path) -> None:
    header_changed(small, lambda header: header.update({"/other": header.pop("/weight")}))
    with pytest.raises(UserError, match="checksum"):
        load_checkpoint(small)


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UserError, match=f"^{path} is not there"):
            load_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\xff" * 64, bytes(64)])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match=r"damaged or cut|no whole checkpoint"):
        load_checkpoint(tmp_path / "a")


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"weight": Evil()}, tmp_path / "a")
    with pytest.raises(UserError):
        load_checkpoint(tmp_path / "a")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"mlc": "{}"}, {"mlc": "{}", "checksum": "0"}])
def test_tensors_of_another_project(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "a", metadata=metadata)
    with pytest.raises(UserError, match="no whole checkpoint"):
        load_checkpoint(tmp_path / "a")


def test_another_format_is_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = checkpoint.FORMAT_VERSION
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", written + 1)
    with pytest.raises(
        UserError, match=f"has checkpoint format {written} and this version reads {written + 1}"
    ):
        load_checkpoint(small)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_old_file_survives_a_failing_write(
    small: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def half(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", half)
    with pytest.raises(type(error)):
        save_checkpoint(small, {"epoch": 8})
    monkeypatch.undo()
    assert same(SMALL, load_checkpoint(small))
    assert [path.name for path in small.parent.iterdir()] == [small.name]


def test_what_cannot_be_written_leaves_the_old_file(small: Path) -> None:
    with pytest.raises(TypeError):
        save_checkpoint(small, {"epoch": object()})
    assert same(SMALL, load_checkpoint(small))


def test_a_transposed_weight_is_kept_as_it_lies_and_read_as_it_was(tmp_path: Path) -> None:
    weight_DL = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(tmp_path / "one.safetensors", {"turned": weight_DL.T, "plain": weight_DL})
    with safe_open(tmp_path / "one.safetensors", framework="pt") as file:
        assert [file.get_tensor(name).shape for name in file.keys()] == [(2, 3), (2, 3)]  # noqa: SIM118
    read = load_checkpoint(tmp_path / "one.safetensors")
    assert torch.equal(read["turned"], weight_DL.T)
    assert torch.equal(read["plain"], weight_DL)
