import torch

from mlc.data.dataset import Split

X = torch.arange(8.0).view(4, 2)
Y = torch.tensor([[1.0], [0], [torch.nan], [1]])
WEIGHT = torch.tensor([0.5, 0, 2, 1.5])


def test_a_batch_has_the_rows_asked_for_with_their_weights() -> None:
    batch = Split({"x": X, "side": -X}, Y, WEIGHT).select(torch.tensor([3, 1]))
    assert batch.inputs["x"].tolist() == [[6, 7], [2, 3]]
    assert batch.inputs["side"].tolist() == [[-6, -7], [-2, -3]]
    assert batch.y_BL.tolist() == [[1], [0]]
    assert batch.weight_B is not None
    assert batch.weight_B.tolist() == [1.5, 0]


def test_without_weights_a_batch_has_none() -> None:
    assert Split({"x": X}, Y).select(torch.tensor([0])).weight_B is None


def test_moving_takes_everything_along() -> None:
    moved = Split({"x": X}, Y, WEIGHT).to("meta")
    assert moved.weight_N is not None
    assert {t.device.type for t in (moved.inputs["x"], moved.y_NL, moved.weight_N)} == {"meta"}
    assert moved.weight_N.shape == (4,)
    assert Split({"x": X}, Y).to("meta").weight_N is None
