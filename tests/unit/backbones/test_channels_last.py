import pytest
import torch
from torch import Tensor, nn

from mlc.backbones.channels_last import ChannelsLast, laid_out
from mlc.backbones.cnn import CNN
from tests.contract.grid import numbers


def is_last(x_BCHW: Tensor) -> bool:
    """Neighbours in memory are the channels of one pixel, also where there is one channel."""
    return x_BCHW.stride()[1] == 1 and x_BCHW.stride()[3] == x_BCHW.shape[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_numbers_in_another_order(channels: int) -> None:
    x = torch.randn(2, channels, 4, 5)
    found = laid_out(x, True, pays_on_cpu=False)
    assert torch.equal(found, x)
    assert is_last(found)
    assert laid_out(x, False, pays_on_cpu=True) is x


def test_auto_asks_what_pays_on_a_processor_and_for_autocast_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = torch.randn(2, 3, 4, 5)
    assert is_last(laid_out(x, "auto", pays_on_cpu=True))
    assert laid_out(x, "auto", pays_on_cpu=False) is x
    elsewhere = x.to("meta")
    for on in (True, False):
        monkeypatch.setattr(torch, "is_autocast_enabled", {"meta": on}.__getitem__)
        assert is_last(laid_out(elsewhere, "auto", pays_on_cpu=not on)) == on


def trained(channels_last: ChannelsLast, *, depth: int) -> tuple[CNN, dict[str, Tensor], list[Tensor]]:
    """A network after a backward pass, with its features and the layouts that its convolutions have seen."""
    torch.manual_seed(0)
    model = CNN(
        inputs=numbers(depth, 9, 7), channels=[4, 6], halvings=1, dropout=0.0, channels_last=channels_last
    ).double()
    seen: list[Tensor] = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda *args: seen.append(args[2].detach()))
    features = model({"x": torch.randn(3, depth, 9, 7, dtype=torch.float64)})
    sum(feature.square().sum() for feature in features.values()).backward()
    return model, features, seen


@pytest.mark.parametrize("depth", [1, 3])
def test_features_and_gradients_are_the_same_to_rounding(depth: int) -> None:
    (first, found, seen), (other, expected, usual) = trained("auto", depth=depth), trained(False, depth=depth)
    assert all(is_last(maps) for maps in seen)
    assert not any(is_last(maps) for maps in usual)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-12)
    for (name, ours), theirs in zip(first.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)
        assert ours.is_contiguous(), name
        assert ours.grad is not None
        assert ours.grad.is_contiguous(), name
