"""Several runs by one command."""

from pathlib import Path

from tests.integration.doors import Doors, config, results
from tests.integration.test_resume import parts
from tests.integration.tiny_mulan import MULAN

SWEEP = ("-m", *MULAN, "hydra.sweep.dir=sweep")


def runs_of_sweep() -> list[Path]:
    return sorted(path for path in Path("sweep").iterdir() if path.is_dir())


def test_a_failing_run_does_not_end_a_sweep(doors: Doors, tiny: Path, no_figures: None) -> None:
    outcome = doors.train(
        *SWEEP, "head=sigmoid,softmax,factorised", "loss=binary_cross_entropy", "dataset.valid_fraction=0.2"
    )
    assert outcome.code == 2
    assert "2 of the sweep's runs failed" in outcome.err
    for head in ("softmax", "factorised"):
        assert any(line.startswith("error: ") and f"head={head}" in line for line in outcome.err.splitlines())
    assert "Traceback" not in outcome.err
    folders = runs_of_sweep()
    assert [config(folder)["choices"]["head"] for folder in folders] == ["sigmoid"]
    assert results(folders[0])["run"]["epochs"] == 2


def test_one_failing_run_is_named_and_decides_the_exit_code(
    doors: Doors, tiny: Path, no_figures: None
) -> None:
    outcome = doors.train(*SWEEP, "decision=top_k", "decision.k=2,99,3")
    assert outcome.code == 2
    assert "decision.k=99" in outcome.err
    assert sorted(config(folder)["decision"]["k"] for folder in runs_of_sweep()) == [2, 3]


def test_folders_are_named_without_signs_that_shells_and_hydra_read(
    doors: Doors, tiny: Path, no_figures: None
) -> None:
    assert doors.train(*SWEEP, "head=sigmoid,factorised", "seed=1,2").code == 0
    names = [path.name for path in runs_of_sweep()]
    assert names == [
        "0_yeast_sigmoid_seed1",
        "1_yeast_sigmoid_seed2",
        "2_yeast_factorised_seed1",
        "3_yeast_factorised_seed2",
    ]


def test_the_seed_decides_everything(doors: Doors, tiny: Path, no_figures: None) -> None:
    assert doors.train(*SWEEP, "seed=1,2").code == 0
    assert doors.train(*MULAN, "seed=1", "hydra.run.dir=again").code == 0
    first, second, again = (
        Path("sweep/0_yeast_sigmoid_seed1"),
        Path("sweep/1_yeast_sigmoid_seed2"),
        Path("again"),
    )
    assert results(first)["splits"] == results(again)["splits"]
    assert results(first)["splits"] != results(second)["splits"]
    assert all(tensor.equal(parts(again)[name]) for name, tensor in parts(first).items())
