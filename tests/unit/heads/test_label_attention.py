import numpy as np
import pytest
import torch

from mlc.errors import UserError
from mlc.heads.label_attention import LabelAttentionHead
from mlc.outputs.independent import IndependentLabels
from tests.unit.heads.checks import EVERY_CHECK, scrambled
from tests.unit.label_statistics import labels_with

LABELS = labels_with([1.0, 50.0, 98.0], rows=99)


def head(width: int = 8, heads: int = 2, prior_bias: bool = True) -> LabelAttentionHead:
    torch.manual_seed(0)
    return LabelAttentionHead(in_features=4, labels=LABELS, width=width, heads=heads, prior_bias=prior_bias)


def by_hand(model: LabelAttentionHead, tokens_TC: np.ndarray) -> list[float]:
    """The logits of one example, label by label and head by head."""
    weights = {name: value.numpy().astype(float) for name, value in model.state_dict().items()}
    keys_TW = tokens_TC @ weights["keys.weight"].T + weights["keys.bias"]
    values_TW = tokens_TC @ weights["values.weight"].T + weights["values.bias"]
    size = keys_TW.shape[1] // model.heads
    logits = []
    for query_W, read_W, bias in zip(
        weights["queries_LW"], weights["read_out_LW"], weights["bias_L"], strict=True
    ):
        for part in (slice(i, i + size) for i in range(0, keys_TW.shape[1], size)):
            attention_T = np.exp(keys_TW[:, part] @ query_W[part] / np.sqrt(size))
            bias += (attention_T / attention_T.sum()) @ values_TW[:, part] @ read_W[part]
        logits.append(bias)
    return logits


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("positions", [1, 5])
def test_equals_attention_written_out(heads: int, positions: int) -> None:
    model, tokens_BTC = scrambled(head(heads=heads)), torch.randn(3, positions, 4)
    output = model(tokens_BTC)
    assert isinstance(output, IndependentLabels)
    expected = [by_hand(model, tokens_TC.numpy()) for tokens_TC in tokens_BTC]  # type: ignore[arg-type]
    np.testing.assert_allclose(output.logits_BL.detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_positions_have_no_order() -> None:
    model, tokens_BTC = scrambled(head()), torch.randn(3, 6, 4)
    shuffled = tokens_BTC[:, torch.randperm(6)]
    torch.testing.assert_close(model(shuffled).logits_BL, model(tokens_BTC).logits_BL, rtol=1e-4, atol=1e-4)


def test_reads_tokens_as_a_map_gives_them() -> None:
    assert LabelAttentionHead.reads == "tokens"
    map_BCHW = torch.randn(2, 4, 3, 3)
    tokens_BTC = map_BCHW.flatten(2).mT  # not contiguous
    model = head()
    torch.testing.assert_close(model(tokens_BTC).logits_BL, model(tokens_BTC.contiguous()).logits_BL)


def test_masked_positions_are_not_looked_at() -> None:
    model, tokens_BTC = scrambled(head()), torch.randn(3, 6, 4)
    lengths = [6, 2, 1]
    mask_BT = torch.arange(6) < torch.tensor(lengths)[:, None]
    found = model(tokens_BTC, mask_BT).logits_BL
    for row, length in enumerate(lengths):
        alone = model(tokens_BTC[row : row + 1, :length]).logits_BL
        torch.testing.assert_close(found[row : row + 1], alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[2], model(tokens_BTC).logits_BL[2])


def test_where_all_is_masked_the_first_position_counts() -> None:
    model, tokens_BTC = scrambled(head()), torch.randn(1, 3, 4)
    nothing = model(tokens_BTC, torch.zeros(1, 3, dtype=torch.bool))
    torch.testing.assert_close(nothing.logits_BL, model(tokens_BTC[:, :1]).logits_BL, rtol=1e-4, atol=1e-4)


def test_prior_bias_starts_at_the_training_frequencies() -> None:
    model = head()
    with torch.no_grad():
        model.values.bias.zero_()
    p_L = model(torch.zeros(1, 3, 4)).marginals()[0]
    assert p_L.tolist() == pytest.approx([1.5 / 100, 50.5 / 100, 98.5 / 100], rel=1e-5)
    assert not head(prior_bias=False).bias_L.any()


def test_a_width_that_the_heads_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match=r"head\.width=8 cannot be divided into head\.heads=3"):
        head(heads=3)


@pytest.mark.parametrize("check", EVERY_CHECK)
def test_as_every_head(check) -> None:  # type: ignore[no-untyped-def]
    check(head, torch.randn(5, 6, 4), torch.randint(0, 2, (5, 3)).float())
