"""Top-k and counts of label chunks against the same from all scores at once."""

import math

import pytest
import torch
from sklearn.metrics import f1_score, ndcg_score

from mlc.data.dataset import Split
from mlc.inputs import MAIN
from mlc.training.label_chunk_evaluation import ChunkEvaluation, evaluate_chunks, top_k_of_chunks
from mlc.training.label_chunks import cut_into_blocks
from tests.unit.training.test_label_chunks import (
    PAIRS,
    B,
    L,
    dense_targets,
    label_rows,
    network_and_loss,
    sparse_inputs,
)


@pytest.mark.parametrize("size", [1, 3, 10])
def test_top_k_is_that_of_all_scores_and_of_equals_the_first(size):
    score_BL = torch.randint(6, (5, 10), generator=torch.Generator().manual_seed(0)).float()
    chunks = ((first, score_BL[:, first : first + size]) for first in range(0, 10, size))
    best = top_k_of_chunks(chunks, 4)
    order_BK = score_BL.sort(dim=1, descending=True, stable=True).indices[:, :4]
    assert torch.equal(best.label_BK, order_BK)
    assert torch.equal(best.rank_BK, score_BL.gather(1, order_BK))


def test_fewer_labels_than_k():
    best = top_k_of_chunks([(0, torch.tensor([[1.0, 2.0]])), (2, torch.tensor([[3.0]]))], 5)
    assert best.label_BK.tolist() == [[2, 1, 0]]


def evaluated(head: str, loss: str, options: dict, *, threshold: float):
    """The evaluation in chunks, and the scores that the dense network gives."""
    network, loss = network_and_loss(head, loss, options)
    network, loss = network.float().eval(), loss.float()
    scores_NL = loss.link(network({MAIN: sparse_inputs()})).scores().detach()
    cut_into_blocks(network.head, size=4)
    split = Split(inputs={MAIN: sparse_inputs()}, y_NL=label_rows(dense_targets()))
    network.train()
    result = evaluate_chunks(network, loss, split, batch_size=3, precision="fp32", k=5, threshold=threshold)
    assert network.training
    return result, scores_NL


@pytest.mark.parametrize(("head", "loss", "options"), [PAIRS[1], PAIRS[3], PAIRS[11], PAIRS[13]], ids=str)
def test_agrees_with_all_scores_at_once(head, loss, options):
    y_NL = dense_targets()
    result, scores_NL = evaluated(head, loss, options, threshold=0.2)
    assert torch.equal(result.label_NK, scores_NL.argsort(dim=1, descending=True)[:, :5])
    assert torch.equal(result.hit_NK, y_NL.gather(1, result.label_NK) > 0)
    assert torch.equal(result.true_N, y_NL.sum(1).long())
    decided_NL = scores_NL > 0.2
    assert torch.equal(result.counts.decided_L, decided_NL.sum(0))
    assert torch.equal(result.counts.true_L, y_NL.long().sum(0))
    assert torch.equal(result.counts.both_L, (decided_NL & (y_NL > 0)).sum(0))


def test_metrics_are_those_of_scikit_learn():
    y_NL = dense_targets()
    result, scores_NL = evaluated(*PAIRS[0], threshold=0.3)
    decided_NL = scores_NL > 0.3
    assert result.counts.micro_f1() == pytest.approx(f1_score(y_NL, decided_NL, average="micro"))
    seen_L = (y_NL.sum(0) + decided_NL.sum(0)) > 0
    macro = f1_score(y_NL[:, seen_L], decided_NL[:, seen_L], average="macro", zero_division=0)
    assert result.counts.macro_f1() == pytest.approx(macro)
    some_N = y_NL.sum(1) > 0
    assert result.ndcg_at(3) == pytest.approx(ndcg_score(y_NL[some_N], scores_NL[some_N], k=3))
    top_NL = torch.zeros(B, L).scatter_(1, scores_NL.topk(3).indices, 1.0)
    assert result.precision_at(3) == pytest.approx(float((top_NL * y_NL).sum(1).mean() / 3))
    recall_N = (top_NL * y_NL).sum(1)[some_N] / y_NL.sum(1)[some_N]
    assert result.recall_at(3) == pytest.approx(float(recall_N.mean()))


def test_unknown_labels_are_not_counted():
    network, loss = network_and_loss(*PAIRS[0])
    network, loss = network.float(), loss.float()
    cut_into_blocks(network.head, size=4)
    y_NL = dense_targets(unknown=True)
    split = Split(inputs={MAIN: sparse_inputs()}, y_NL=y_NL)
    result: ChunkEvaluation = evaluate_chunks(
        network, loss, split, batch_size=4, precision="fp32", k=2, threshold=-math.inf
    )
    assert torch.equal(result.counts.decided_L, (~y_NL.isnan()).sum(0))
