"""The linear baseline: one linear classifier per label by scikit-learn, in place of the training loop."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Gt
from numpy.typing import NDArray
from torch import Tensor

from mlc.data.dataset import Input, Split
from mlc.data.positives import positives
from mlc.errors import UserError
from mlc.heads.sigmoid import SigmoidHead
from mlc.inputs import MAIN
from mlc.model import Network
from mlc.rows import SparseRows
from mlc.training.settings import TrainerSettings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_TINY = 1e-6


@dataclass(frozen=True, kw_only=True)
class LinearBaseline(TrainerSettings):
    """Settings of the linear baseline; it goes with backbone=linear and head=sigmoid.

    Args:
        model: "svm" (squared hinge loss) or "logistic".
        cost: C of scikit-learn: the larger, the less the weights are held back.
        balanced: weigh the two classes of each label by their inverse frequency.
    """

    model: Literal["svm", "logistic"]
    cost: Annotated[float, Gt(0)]
    balanced: bool
    max_epochs: int = field(default=1, init=False)
    batch_size: int = field(default=256, init=False)
    precision: Literal["fp32", "bf16", "fp16", "auto"] = field(default="fp32", init=False)
    clip_norm: float | None = field(default=None, init=False)
    sampling: Literal["all", "class_aware"] = field(default="all", init=False)
    monitor: str = field(default="loss", init=False)
    patience: int | None = field(default=None, init=False)
    log_every_steps: int = field(default=1, init=False)
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None = field(default=None, init=False)
    micro_batch_size: int | None = field(default=None, init=False)
    clip_value: float | None = field(default=None, init=False)
    weight_decay_on: Literal["matrices", "all"] = field(default="all", init=False)
    ema_decay: float | None = field(default=None, init=False)
    max_steps: int | None = field(default=None, init=False)
    max_bad_steps: int = field(default=1, init=False)
    checkpoint_every_steps: int | None = field(default=None, init=False)
    checkpoint_every_minutes: float | None = field(default=None, init=False)
    checkpoint_pause_s: float = field(default=0.0, init=False)
    keep_last: int = field(default=2, init=False)
    keep_best: int = field(default=1, init=False)
    deterministic: bool = field(default=False, init=False)
    detect_anomaly: bool = field(default=False, init=False)
    overfit_batches: int | None = field(default=None, init=False)
    profile_steps: int | None = field(default=None, init=False)
    label_chunk: int | Literal["auto"] | None = field(default=None, init=False)
    label_update: Literal["in_pass", "at_step"] = field(default="at_step", init=False)
    label_shards: bool = field(default=False, init=False)


@torch.no_grad()
def fit_linear(network: Network, train: Split, settings: LinearBaseline) -> None:
    """Fit one linear classifier per label and write its weights into the network.

    A label that is true in every known row, or in none, gets no weights and the log-odds of its frequency.

    Args:
        network: a linear backbone with a sigmoid head; its weights are changed.
        train: training rows; unknown targets are left out, weights count.
        settings: which classifier.

    Raises:
        UserError: the network is no linear backbone with a sigmoid head.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    head = network.head
    if not isinstance(head, SigmoidHead):
        raise UserError("trainer=linear_baseline fits head=sigmoid: leave head= away")
    x_ND = _features(train)
    if x_ND.shape[1] != head.logits.in_features:
        raise UserError("trainer=linear_baseline fits backbone=linear: leave backbone= away")
    weight_N = None if train.weight_N is None else train.weight_N.double().cpu().numpy()
    column = _columns(train)
    class_weight = "balanced" if settings.balanced else None
    make: Callable[[], Any] = (
        (lambda: LinearSVC(C=settings.cost, class_weight=class_weight, random_state=0))
        if settings.model == "svm"
        else (lambda: LogisticRegression(C=settings.cost, class_weight=class_weight, solver="liblinear"))
    )

    def fit_label(label: int) -> tuple[NDArray[np.float64], float]:
        y_N, x, weights = column(label), x_ND, weight_N
        known_N = ~np.isnan(y_N)
        if not known_N.all():  # else nothing is copied
            y_N, x = y_N[known_N], x_ND[known_N]
            weights = None if weight_N is None else weight_N[known_N]
        share = float(np.average(y_N, weights=weights)) if len(y_N) else 0
        if share in (0, 1):
            share = min(max(share, _TINY), 1 - _TINY)
            return np.zeros(x_ND.shape[1]), float(np.log(share / (1 - share)))
        fitted = make().fit(x, y_N.astype(int), sample_weight=weights)
        return fitted.coef_[0], float(fitted.intercept_[0])

    # liblinear lets go of the interpreter while it works. Its dual solver, which scikit-learn takes for more
    # features than rows, draws from one generator for the whole process: only in turn it is repeatable.
    dual = settings.model == "svm" and x_ND.shape[0] < x_ND.shape[1]
    with ThreadPoolExecutor(1 if dual else torch.get_num_threads()) as threads:
        for label, (weights_D, bias) in enumerate(threads.map(fit_label, range(train.n_labels))):
            head.logits.weight[label] = torch.from_numpy(weights_D)
            head.logits.bias[label] = bias


def _columns(train: Split) -> Callable[[int], NDArray[np.float64]]:
    """What gives the targets of a label: 0, 1, or NaN where unknown."""
    y_NL = train.y_NL
    if isinstance(y_NL, Tensor):
        return lambda label: y_NL[:, label].double().cpu().numpy()
    from scipy.sparse import csc_matrix

    rows, labels = positives(y_NL)
    by_label = csc_matrix((np.ones(len(rows), dtype=np.int8), (rows, labels)), shape=y_NL.shape)

    def of_label(label: int) -> NDArray[np.float64]:
        y_N = np.zeros(len(train))
        y_N[by_label.indices[by_label.indptr[label] : by_label.indptr[label + 1]]] = 1
        return y_N

    return of_label


def _features(train: Split) -> "csr_matrix | NDArray[np.float64]":
    """The inputs side by side, the main one first, as the backbone has them."""
    from scipy.sparse import csr_matrix, hstack

    names = [MAIN, *(name for name in train.inputs if name != MAIN)]
    blocks = [_block(train.inputs[name]) for name in names]
    if len(blocks) == 1:
        return blocks[0]
    if all(isinstance(block, np.ndarray) for block in blocks):
        return np.concatenate(blocks, axis=1)
    return csr_matrix(hstack(blocks))


def _block(values: Input) -> "csr_matrix | NDArray[np.float64]":
    from scipy.sparse import csr_matrix

    if isinstance(values, SparseRows):
        rows = values[torch.arange(len(values), device=values.start_N.device)]
        pointers = np.concatenate([rows.start_N.cpu().numpy(), [len(rows.ids_M)]])
        numbers = rows.numbers().double().cpu().numpy()
        return csr_matrix((numbers, rows.ids_M.cpu().numpy(), pointers), shape=(len(rows), rows.width))
    if isinstance(values, Tensor):
        return values.flatten(1).double().cpu().numpy()
    raise UserError(
        f"trainer=linear_baseline reads numbers, sparse numbers and text=tfidf, not {values.spec.kind}: "
        f"leave trainer= away, or choose another trainer"
    )
