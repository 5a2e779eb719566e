import pytest
import torch
from torch import Tensor

from mlc.data.augment import PictureAugmentation
from mlc.errors import UserError
from mlc.inputs import InputSpec

MEAN, SCALE = torch.tensor([0.2, 0.5]), torch.tensor([0.1, torch.inf])
OFF = {"shift": 0.0, "rotation": 0.0, "zoom": 0.0, "flip": False, "brightness": 0.0, "contrast": 0.0}


def augmentation(name: str = "x", **options: float | bool) -> PictureAugmentation:
    pytest.importorskip("kornia")
    inputs = {"x": InputSpec("tokens", (9,), vocabulary=5), name: InputSpec("pictures", (2, 8, 8))}
    preparation = {"picture.mean": MEAN, "picture.scale": SCALE}
    return PictureAugmentation(inputs=inputs, preparation=preparation, **(OFF | options))  # type: ignore[arg-type]


def light(x: Tensor) -> Tensor:
    """The first channel, 0..1."""
    return x[:, 0] * 0.1 + 0.2


def pictures(n: int = 400) -> Tensor:
    """Standardised pictures; the second channel is constant, so it is 0."""
    x = torch.zeros(n, 2, 8, 8)
    x[:, 0] = (torch.rand(n, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.2) / 0.1
    return x


def test_half_of_the_pictures_are_mirrored() -> None:
    torch.manual_seed(0)
    x = pictures()
    out = augmentation(flip=True)({"x": x})["x"]
    assert isinstance(out, Tensor)
    same = torch.isclose(out, x, atol=1e-5).flatten(1).all(1)
    mirrored = torch.isclose(out, x.flip(3), atol=1e-5).flatten(1).all(1)
    assert torch.all(same ^ mirrored)
    assert 150 < int(mirrored.sum()) < 250


def test_what_comes_in_at_an_edge_is_black() -> None:
    torch.manual_seed(0)
    white = torch.zeros(50, 2, 8, 8)
    white[:, 0] = (1 - 0.2) / 0.1
    out = augmentation(shift=0.4)({"x": white})["x"]
    assert isinstance(out, Tensor)
    assert light(out).min().item() == pytest.approx(0, abs=1e-5)
    assert light(out).max().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(out[:, 1], white[:, 1])  # the constant channel stays 0


@pytest.mark.parametrize("option", ["rotation", "zoom"])
def test_the_centre_stays_where_it_is(option: str) -> None:
    torch.manual_seed(0)
    x = torch.full((50, 2, 8, 8), -2.0)
    x[:, :, 3:5, 3:5] = 8.0
    x[:, 1] = 0
    out = augmentation(**{option: 30.0 if option == "rotation" else 0.3})({"x": x})["x"]
    assert isinstance(out, Tensor)
    assert not torch.allclose(out, x, atol=0.1)
    at = torch.arange(8) - 3.5
    mass = light(out).sum((1, 2))
    for dim in (1, 2):
        centre = (light(out).sum(3 - dim) * at).sum(1) / mass
        torch.testing.assert_close(centre, torch.zeros(50), atol=1e-3, rtol=0)


@pytest.mark.parametrize("option", ["brightness", "contrast"])
def test_light_changes_within_its_limit(option: str) -> None:
    torch.manual_seed(0)
    x = torch.zeros(300, 2, 8, 8)  # light 0.2 everywhere
    out = augmentation(**{option: 0.1})({"x": x})["x"]
    assert isinstance(out, Tensor)
    level = light(out)[:, 0, 0]
    most = 0.1 if option == "brightness" else 0.02
    assert level.min().item() == pytest.approx(0.2 - most, abs=most / 10)
    assert level.max().item() == pytest.approx(0.2 + most, abs=most / 10)
    torch.testing.assert_close(light(out), level[:, None, None].expand(-1, 8, 8))


def test_the_same_state_of_the_generator_gives_the_same_pictures() -> None:
    change = augmentation(shift=0.2, rotation=10.0, zoom=0.1, flip=True, brightness=0.1, contrast=0.1)
    change({"x": pictures(4)})
    state = torch.get_rng_state()
    first = change({"x": pictures(4)})["x"]
    second = change({"x": pictures(4)})["x"]
    assert isinstance(first, Tensor)
    assert isinstance(second, Tensor)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    again = augmentation(shift=0.2, rotation=10.0, zoom=0.1, flip=True, brightness=0.1, contrast=0.1)
    repeated = again({"x": pictures(4)})["x"]
    assert isinstance(repeated, Tensor)
    assert torch.equal(repeated, first)  # nothing but torch's generator is remembered


def test_only_pictures_change() -> None:
    tokens, x = torch.arange(9).expand(4, 9), pictures(4)
    inputs = {"x": tokens, "picture": x}
    before = x.clone()
    out = augmentation("picture", shift=0.2)(inputs)
    assert out["x"] is tokens
    assert out["picture"] is not x
    assert torch.equal(x, before)


def test_no_pictures() -> None:
    with pytest.raises(UserError, match="the input of this data set is numbers: use augmentation=none"):
        PictureAugmentation(inputs={"x": InputSpec("numbers", (3,))}, preparation={}, **OFF)  # type: ignore[arg-type]


def test_nothing_to_change() -> None:
    with pytest.raises(UserError, match="changes nothing"):
        augmentation()
