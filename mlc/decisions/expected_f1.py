"""The label set of the highest expected F1, example by example."""

import torch
from torch import Tensor

from mlc.decisions.base import Decision
from mlc.decisions.instead import rules_for_scores
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels

# Of B×L×K, decided at a time: 64 MB in float32 a few times over; 16 rows of 1,000 labels.
_BLOCK_CELLS = 2**24

SetModel = IndependentLabels | LabelLevels | LabelSets | ConditionalBernoulli


class ExpectedF1(Decision):
    """The set with the highest expected F1 of an example (F1 of the empty set, where it is true, is 1).

    Exact under the model, for models that know P(y_l = 1, Σy = s). Calibrated independent labels (or levels)
    are again independent labels, since their marginals determine the distribution; a calibrated
    ConditionalBernoulli or LabelSets stays the model's own, because new marginals do not say which sets they
    come from.

    Source: Dembczyński, Waegeman, Cheng & Hüllermeier (2011), "An exact algorithm for F-measure
        maximization"; Dembczyński, Jachnik, Kotłowski, Waegeman & Hüllermeier (2013), "Optimizing the
        F-measure in multi-label classification".
    Differs: sizes that cannot be optimal are left out by a bound, which changes no result.
    """

    def check(self, output: LabelOutput) -> None:
        """Raise UserError for a model that does not know labels and count jointly."""
        if not isinstance(output.model, SetModel):
            raise UserError(
                f"decision=expected_f1 needs a model of labels and their count together, and "
                f"{type(output.model).__name__} is none: use head=sigmoid, levels, label_sets or "
                f"conditional_bernoulli, or {rules_for_scores(output)}"
            )

    def fit(self, output: LabelOutput, y_NL: Tensor, weight_N: Tensor | None = None) -> None:
        """Nothing to fit."""

    @torch.no_grad()
    def forward(self, output: LabelOutput) -> Tensor:
        """B×L booleans, a few rows at a time."""
        model = _set_model(output)
        logits_BL = output.score_logits()
        rows_B = torch.arange(len(logits_BL), device=logits_BL.device)
        block = max(1, _BLOCK_CELLS // self.n_labels**2)
        chunks = [_rows(model, rows) for rows in rows_B.split(block)]
        return torch.cat([best_sets(chunk.marginals_by_count(), chunk.cardinality()) for chunk in chunks])

    def thresholds(self) -> None:
        """None: the rule compares sets."""


def best_sets(joint_BLK: Tensor, count_BK: Tensor) -> Tensor:
    """B×L booleans: the set of the highest expected F1 in each row.

    A set of k labels has the expected F1 Σ Δ_lk over its labels, where Δ_lk is Σ_s 2 / (s + k) · P(y_l = 1,
    Σy = s): the best one holds the k largest Δ_lk. The empty set has P(Σy = 0), and wins a tie.

    Args:
        joint_BLK: P(y_l = 1, Σy = s), s = 0..K.
        count_BK: P(Σy = s), s = 0..K or beyond.
    """
    max_count = joint_BLK.shape[2] - 1
    sizes_S = torch.arange(1, joint_BLK.shape[1] + 1, device=joint_BLK.device, dtype=joint_BLK.dtype)
    counts_K = torch.arange(max_count + 1, device=joint_BLK.device, dtype=joint_BLK.dtype)
    sizes_S = _possible_sizes(joint_BLK, count_BK[:, : max_count + 1], counts_K, sizes_S)
    delta_BLS = joint_BLK @ (2 / (counts_K[:, None] + sizes_S))
    sorted_BLS, order_BLS = delta_BLS.sort(dim=1, descending=True, stable=True)
    last_S = sizes_S.long() - 1
    value_BS = sorted_BLS.cumsum(1)[:, last_S, torch.arange(len(last_S), device=last_S.device)]
    best_B1 = value_BS.argmax(1, keepdim=True)
    order_BL = order_BLS.gather(2, best_B1[:, None].expand(-1, delta_BLS.shape[1], -1)).squeeze(2)
    is_worth_B1 = value_BS.gather(1, best_B1) > count_BK[:, :1]
    ranks_L = torch.arange(delta_BLS.shape[1], device=delta_BLS.device)
    taken_BL = (ranks_L < sizes_S[best_B1]) & is_worth_B1
    return torch.zeros_like(taken_BL).scatter(1, order_BL, taken_BL)


def _possible_sizes(joint_BLK: Tensor, count_BK: Tensor, counts_K: Tensor, sizes_S: Tensor) -> Tensor:
    """The sizes that can be best in some row, found without sorting all of them.

    With s true labels, k decided ones hit at most min(s, k): this bounds the value of a size from above. The
    size of the highest bound has a value that is known after one sort, and sizes bounded below it are out.
    """
    hits_KS = 2 * torch.minimum(counts_K[:, None], sizes_S) / (counts_K[:, None] + sizes_S)
    bound_BS = count_BK @ hits_KS
    guess_B = bound_BS.argmax(1)
    delta_BL = torch.einsum("blk,bk->bl", joint_BLK, 2 / (counts_K + sizes_S[guess_B][:, None]))
    reached_B1 = delta_BL.sort(dim=1, descending=True).values.cumsum(1).gather(1, guess_B[:, None])
    # A thousandth below, because the bound and the value are rounded differently.
    return sizes_S[(bound_BS >= 0.999 * reached_B1).any(0)]


def _set_model(output: LabelOutput) -> SetModel:
    if isinstance(output, CalibratedLabels) and isinstance(output.model, IndependentLabels | LabelLevels):
        return IndependentLabels(output.logits_BL)
    assert isinstance(output.model, SetModel), "check() comes first"
    return output.model


def _rows(model: SetModel, rows_B: Tensor) -> SetModel:
    return model.map_tensors(lambda tensor: tensor[rows_B])
