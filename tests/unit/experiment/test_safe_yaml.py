import datetime
from pathlib import Path

import pytest
import yaml

from mlc.errors import UserError
from mlc.experiment.safe_yaml import parse_yaml, read_yaml
from mlc.training.job import config_yaml
from tests.contract.grid import CONFIGS
from tests.unit.experiment.shipped import config


def test_shipped_configs_are_read_as_pyyaml_reads_them() -> None:
    paths = sorted(CONFIGS.glob("*/*.yaml"))
    assert len(paths) > 50
    for path in paths:
        assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


def test_what_a_run_writes_is_read_back(tmp_path: Path) -> None:
    chosen = config()
    (tmp_path / "config.yaml").write_text(config_yaml(chosen), encoding="utf-8")
    assert read_yaml(tmp_path / "config.yaml") == chosen


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("1e-3", "1e-3"), ("[a, 1]", ["a", 1]), ("", None), ("2020-01-02", datetime.date(2020, 1, 2))],
)
def test_values_of_the_command_line(text: str, value: object) -> None:
    assert parse_yaml(text, name="decision.k") == value


@pytest.mark.parametrize("text", ["[1", "{a", "a: b: c", "!!python/name:os.system", "\x00", "1999-99-99"])
def test_what_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(UserError, match=r"^decision\.k(, line \d)? cannot be read as YAML: \w") as refused:
        parse_yaml(text, name="decision.k")
    assert "\n" not in str(refused.value)
