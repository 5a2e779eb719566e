"""A short version of scripts/fault_drill.py, which takes minutes."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "fault_drill.py"
SHORT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fault_drill import drill

times = {"kill": 2, "term": 1, "disk": 2, "flip": 3}
failures = drill(Path.cwd(), seed=3, times=times, heads=("sigmoid", "factorised"), within_s=60)
sys.exit("\\n".join(failures) or 0)
"""


def test_every_run_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    # A program of its own, because it forks, and here other threads are running.
    outcome = subprocess.run(
        [sys.executable, "-c", SHORT, str(SCRIPT.parent)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert [line for line in outcome.stdout.splitlines() if ": " in line][-1] == "flip: 3 runs, 0 failed"
