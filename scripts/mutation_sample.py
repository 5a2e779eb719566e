"""Mutation testing of the outputs and losses: `python scripts/mutation_sample.py --mutants 200 --seed 5`.

Draws mutants of cosmic-ray (`pip install cosmic-ray`) from mlc/outputs and mlc/losses, and runs on each the
unit tests of the mutated module, then those of what all outputs or all losses share, in a copy of the
checkout. A mutant that they do not notice is printed: either it computes the same, or a test is missing.

Not drawn: mutants of type annotations, and arithmetic turned into << >> | & ^, which no float tensor stands.
"""

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import astuple, dataclass
from difflib import unified_diff
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

_ROOT = Path(__file__).parents[1]
# What the tests of all modules of a package share.
_COMMON = {"outputs": "test_base.py", "losses": "test_every_loss.py"}
_SKIPPED = re.compile(
    r"ReplaceBinaryOperator_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(RShift|LShift|BitOr|BitAnd|BitXor)$|Variable"
)
_LONGEST_S = 120


@dataclass(frozen=True, order=True)
class Mutant:
    """One change: where an operator of cosmic-ray finds something to change for the `occurrence`-th time."""

    path: str
    operator: str
    occurrence: int
    line: int

    def source(self) -> str:
        source: str = mutate_code(
            (_ROOT / self.path).read_text(), get_operator(self.operator)(), self.occurrence
        )
        return source

    def tests(self) -> tuple[str, str]:
        package, module = Path(self.path).parts[1:]
        return f"tests/unit/{package}/test_{module}", f"tests/unit/{package}/{_COMMON[package]}"


def all_mutants() -> list[Mutant]:
    """Those of every module, in a fixed order."""
    paths = [path for package in _COMMON for path in (_ROOT / "mlc" / package).glob("*.py")]
    return sorted(mutant for path in paths if path.name != "__init__.py" for mutant in _mutants_of(path))


def _mutants_of(path: Path) -> list[Mutant]:
    source = path.read_text()
    tree, annotations = get_ast(source), _annotations(source)
    found = []
    for operator in operator_names():
        if _SKIPPED.search(operator):
            continue
        visitor = get_operator(operator)()
        positions = (position for node in ast_nodes(tree) for position in visitor.mutation_positions(node))
        for occurrence, (start, end, *_) in enumerate(positions):
            if not any(first <= start and end <= last for first, last in annotations):
                found.append(Mutant(str(path.relative_to(_ROOT)), operator, occurrence, start[0]))
    return found


def _annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where type annotations begin and end, as line and column."""
    fields = [
        getattr(node, name, None)
        for node in ast.walk(ast.parse(source))
        for name in ("annotation", "returns")
    ]
    return [
        ((field.lineno, field.col_offset), (field.end_lineno, field.end_col_offset))
        for field in fields
        if field is not None
    ]


def passes(checkout: Path, tests: str) -> bool:
    """Whether the tests pass, within the time allowed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", tests]
    # No bytecode: one mutant may be as long and as old as the next.
    environment = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(checkout),
        "OMP_NUM_THREADS": "1",
    }
    try:
        done = subprocess.run(
            command, check=False, cwd=checkout, env=environment, capture_output=True, timeout=_LONGEST_S
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def survives(mutant: Mutant, checkout: Path) -> bool:
    """Whether the tests of the mutant's module pass on it."""
    file = checkout / mutant.path
    file.write_text(mutant.source())
    try:
        return all(passes(checkout, tests) for tests in mutant.tests())
    finally:
        shutil.copy(_ROOT / mutant.path, file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=200, help="how many to draw")
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    population = all_mutants()
    random.Random(options.seed).shuffle(population)
    drawn = population[: options.mutants]
    survivors: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder)
        shutil.copy(_ROOT / "pyproject.toml", checkout)
        for name in ("mlc", "tests", "configs"):
            shutil.copytree(_ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        for tests in sorted({tests for mutant in drawn for tests in mutant.tests()}):
            if not passes(checkout, tests):
                sys.exit(f"{tests} fails without any mutant")
        for mutant in drawn:
            if survives(mutant, checkout):
                survivors[mutant.path] += 1
                lines = (_ROOT / mutant.path).read_text().splitlines(), mutant.source().splitlines()
                print(
                    "survived:",
                    *astuple(mutant),
                    *list(unified_diff(*lines, n=0, lineterm=""))[3:],
                    sep="\n  ",
                )
    print(f"of {len(population)} mutants {len(drawn)} drawn, {len(drawn) - survivors.total()} killed")
    for path, number in Counter(mutant.path for mutant in drawn).most_common():
        print(f"{path}: {number} drawn, {number - survivors[path]} killed")


if __name__ == "__main__":
    main()
