import torch

from mlc.backbones.texts import attended, attention_mean, masked_max, masked_mean, masked_sum

MASK = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
X = -1 - torch.rand(3, 3, 2)  # below 0, so that a padding of 0 would be the largest


def test_pooling_sees_real_positions_only() -> None:
    two, nothing = X[0, :2], [0.0, 0.0]
    for pool, expected in ((masked_sum, two.sum(0)), (masked_mean, two.mean(0)), (masked_max, two.amax(0))):
        found = pool(X, MASK)
        torch.testing.assert_close(found[0], expected)
        torch.testing.assert_close(found[1], X[1, 0])
        assert found[2].tolist() == nothing


def test_a_text_of_padding_alone_keeps_its_first_position() -> None:
    assert attended(MASK).tolist() == [[True, True, False], [True, False, False], [True, False, False]]
    assert not MASK[2].any()


def test_attention_weighs_real_positions_by_the_softmax_of_their_scores() -> None:
    score_BT1 = torch.tensor([[[0.0], [2.0], [9.0]], [[5.0], [9.0], [9.0]]])
    found = attention_mean(X[:2], score_BT1, MASK[:2])
    share = 1 / (1 + torch.e**2)
    torch.testing.assert_close(found[0], share * X[0, 0] + (1 - share) * X[0, 1])
    torch.testing.assert_close(found[1], X[1, 0])
