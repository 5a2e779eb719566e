import torch
from scipy.special import logit, softmax

from mlc.outputs.log_odds import softmax_log_odds


def test_equals_the_logit_of_the_softmax() -> None:
    logits_BL = torch.randn(50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4
    expected = torch.from_numpy(logit(softmax(logits_BL.numpy(), axis=1)))
    torch.testing.assert_close(softmax_log_odds(logits_BL), expected)


def test_confident_examples_are_not_tied_in_float32() -> None:
    lead_B = torch.tensor([20.0, 30.0, 40.0])
    logits_BL = torch.stack((lead_B, torch.zeros(3), torch.zeros(3)), dim=1)
    first_B = softmax_log_odds(logits_BL)[:, 0]
    torch.testing.assert_close(first_B, lead_B - torch.log(torch.tensor(2.0)))


def test_gradient_is_that_of_the_logit() -> None:
    logits_BL = torch.randn(
        4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    assert torch.autograd.gradcheck(softmax_log_odds, (logits_BL,))
    tied_BL = torch.zeros(2, 3, dtype=torch.float64)
    torch.testing.assert_close(
        softmax_log_odds(tied_BL), torch.full((2, 3), 0.5).double().logit() * 0 - 0.6931471805599453
    )
