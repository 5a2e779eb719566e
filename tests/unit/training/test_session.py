"""A session that is stopped after any step, and goes on in a new process, ends bit for bit the same."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mlc.backbones.embedding_bag import EmbeddingBag
from mlc.backbones.mlp import MLP
from mlc.data.augment import Augmentation
from mlc.data.dataset import Split
from mlc.heads.sigmoid import SigmoidHead
from mlc.inputs import InputSpec
from mlc.model import Network
from mlc.rows import TokenRows
from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.sampling import ClassAwareSampler
from mlc.training.schedules import Plateau
from mlc.training.session import Session
from tests.contract.grid import names
from tests.unit.training import tiny
from tests.unit.training.tiny import bits

EPOCHS, ROWS = 2, 17  # two batches of 6 and one of 5
TOKENS = InputSpec("tokens", (6,), vocabulary=12)


def texts() -> Split:
    """Texts of 1 to 6 tokens, so that batches are cut by length."""
    generator = torch.Generator().manual_seed(3)
    length_N = torch.randint(1, 7, (ROWS,), generator=generator)
    ids_M = torch.randint(1, 12, (int(length_N.sum()),), generator=generator)
    x = TokenRows(ids_M, length_N.cumsum(0) - length_N, length_N, TOKENS)
    return Split(inputs={"x": x}, y_NL=tiny.split(ROWS).y_NL)


def mlp(seed: int, *, dropout: float = 0.0, norm: Any = "none") -> Network:
    torch.manual_seed(seed)
    backbone = MLP(inputs=tiny.INPUTS, widths=[8], input_dropout=dropout, dropout=dropout, norm=norm)
    return Network(
        backbone=backbone, head=SigmoidHead(in_features=8, labels=tiny.statistics(), prior_bias=True)
    )


def bag(seed: int) -> Network:
    torch.manual_seed(seed)
    backbone = EmbeddingBag(
        inputs={"x": TOKENS},
        embedding=8,
        char_ngrams=None,
        char_buckets=1,
        pooling="mean",
        token_dropout=0.2,
        widths=[],
        dropout=0.1,
    )
    return Network(
        backbone=backbone, head=SigmoidHead(in_features=8, labels=tiny.statistics(), prior_bias=True)
    )


@dataclass(frozen=True)
class Kind:
    """What makes an exact resume hard."""

    network: Callable[[int], Network]
    changes: dict[str, Any]
    class_aware: bool = False
    texts: bool = False

    def rows(self) -> Split:
        return texts() if self.texts else tiny.split(ROWS)

    def session(self, optimizer: str, *, seed: int = 0, **changes: Any) -> Session:
        return tiny.session(
            optimizer_name=optimizer,
            net=self.network(seed),
            seed=4,
            sampler=ClassAwareSampler.of(self.rows().y_NL) if self.class_aware else None,
            schedule=Plateau(warmup_epochs=1.5, patience=1, gamma=0.5),
            **({"max_epochs": EPOCHS, "clip_norm": 1.0} | self.changes | changes),
        )


KINDS = {
    "dropout": Kind(partial(mlp, dropout=0.3), {}),
    "batch norm": Kind(partial(mlp, norm="batch"), {"clip_value": 0.1}),
    "average": Kind(partial(mlp, dropout=0.3, norm="batch"), {"ema_decay": 0.9}),
    "accumulation": Kind(partial(mlp, dropout=0.3, norm="batch"), {"micro_batch_size": 4}),
    "class-aware": Kind(partial(mlp, dropout=0.3), {}, class_aware=True),
    "texts": Kind(bag, {}, texts=True),
}


def validate(session: Session) -> dict[str, float]:
    """Rises and falls with the weights, so that the schedule is heard; takes a random number."""
    torch.rand(1)
    weights = torch.cat([p.detach().flatten() for p in session.evaluated.parameters()])
    return {"loss": float(weights.sin().sum())}


def train(session: Session, rows: Split, after_step: Callable[[], None] = lambda: None) -> None:
    tiny.train(session, rows, validate=lambda: validate(session), after_step=after_step)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", names("optimizer"))
def test_resumed_after_any_step_it_equals_the_undisturbed_one(
    optimizer: str, kind: str, tmp_path: Path
) -> None:
    made, rows = KINDS[kind], KINDS[kind].rows()
    undisturbed, states = made.session(optimizer), []

    def keep() -> None:
        if undisturbed.position.epoch == 0:
            states.append(copy.deepcopy(undisturbed.state()))

    start = bits(undisturbed.network.state_dict())
    train(undisturbed, rows, keep)
    expected = bits(undisturbed.state())
    assert [state["position"]["batch"] for state in states] == [1, 2, 3]
    for number, state in enumerate(states):
        resumed = made.session(optimizer, seed=77)  # nothing may come from the new network
        torch.manual_seed(99)
        if number == 0:  # and the file takes nothing away
            save_checkpoint(tmp_path / "state", state)
            state = load_checkpoint(tmp_path / "state")
        resumed.restore(state)
        train(resumed, rows)
        assert bits(resumed.state()) == expected, number
    assert (undisturbed.position.epoch, undisturbed.position.step) == (EPOCHS, 3 * EPOCHS)
    trained = bits(undisturbed.network.state_dict())
    assert not any(trained[key] == start[key] for key in trained if key.endswith("weight"))


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_in_half_precision_too(optimizer: str, precision: str) -> None:
    made, rows = KINDS["average"], KINDS["average"].rows()
    undisturbed, states = made.session(optimizer, precision=precision), []
    train(undisturbed, rows, lambda: states.append(copy.deepcopy(undisturbed.state())))
    for state in states[1::3]:
        resumed = made.session(optimizer, precision=precision, seed=77)
        resumed.restore(state)
        train(resumed, rows)
        assert bits(resumed.state()) == bits(undisturbed.state())


def test_the_end_of_an_epoch_is_a_place_to_resume_from_with_the_schedules_memory(tmp_path: Path) -> None:
    made, rows = KINDS["average"], KINDS["average"].rows()
    undisturbed, states = made.session("adam"), []
    tiny.train(
        undisturbed,
        rows,
        validate=lambda: validate(undisturbed),
        epoch=lambda *_: states.append(copy.deepcopy(undisturbed.state())),
    )
    for state in states:
        resumed = made.session("adam", seed=77)
        resumed.restore(state)
        train(resumed, rows)
        assert bits(resumed.state()) == bits(undisturbed.state())


@pytest.mark.parametrize("lost", ["network", "average", "optimizer", "schedule", "position", "random"])
def test_every_piece_of_the_state_is_needed(lost: str) -> None:
    """What is not taken back shows at the end, or the tests above could not fail."""
    made, rows = KINDS["average"], KINDS["average"].rows()
    # The loss never gets better, so that the plateau's memory counts.
    undisturbed, states = made.session("adam", max_epochs=4), []
    tiny.train(undisturbed, rows, after_step=lambda: states.append(copy.deepcopy(undisturbed.state())))
    resumed = made.session("adam", seed=77, max_epochs=4)
    torch.manual_seed(99)
    own = resumed.state()
    own["position"]["step"] = states[7]["position"]["step"]  # of fewer steps it would be refused
    resumed.restore({**states[7], lost: copy.deepcopy(own[lost])})
    tiny.train(resumed, rows)
    assert bits(resumed.state()) != bits(undisturbed.state())


def test_what_is_evaluated_is_the_average_where_there_is_one() -> None:
    plain, averaged = tiny.session(), tiny.session(ema_decay=0.5)
    assert plain.evaluated is plain.network
    assert plain.average is None
    assert averaged.average is not None
    assert averaged.evaluated is averaged.average.network is not averaged.network


def test_augmentation_is_for_training_batches() -> None:
    class Doubled(Augmentation):
        def __call__(self, inputs: Any) -> Any:
            return {"x": inputs["x"] * 2}

    session = tiny.session(net=mlp(0), max_epochs=1)
    session.augment = Doubled.__new__(Doubled)
    twin = tiny.session(net=mlp(0), max_epochs=1)
    rows = tiny.split(ROWS)
    tiny.train(session, rows)
    tiny.train(twin, Split(inputs={"x": rows.inputs["x"] * 2}, y_NL=rows.y_NL))  # type: ignore[operator]
    assert bits(session.network.state_dict()) == bits(twin.network.state_dict())
