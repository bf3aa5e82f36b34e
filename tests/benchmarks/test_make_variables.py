"""Make's variables: passed on as they are typed, and refused where they mean nothing."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from benchmarks.machine import host


def made(*arguments: str) -> tuple[int, str]:
    """Exit status and output of ``make -n``."""
    done = subprocess.run(
        ["make", "-n", "VENV=/nowhere", *arguments], cwd=host.ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("reproduce-dan", "SEED=1"), "there is no variable SEED: did you mean SEEDS?"),
        (("plan-dan", "DATASETS=digits"), "there is no variable DATASETS: did you mean DATASET?"),
        (("table-dan", "SEEDS=1"), "SEEDS means nothing to `make table-dan`: leave it out"),
        (("data", "SEEDS=1"), "SEEDS means nothing to `make data`: leave it out"),
        (("reproduce-dan", "DATASET="), "DATASET is empty: give it a value or leave it out"),
        (("reproduce-dan", "Q=1"), "there is no variable Q: make help lists them."),
    ],
)
def test_a_variable_that_means_nothing_is_refused(arguments: tuple[str, ...], says: str) -> None:
    status, output = made(*arguments)
    assert status == 2
    assert says in output


def test_paths_and_tasks_arrive_as_they_are_typed() -> None:
    dataset, tasks = 'folder:/x/it\'s my $data/set, 100% "one"', "Art:Real World Real World:Art"
    status, output = made("compare", f"DATASET={dataset}", f"TASKS={tasks}", "SEEDS=1", "METHODS=dan jan")
    assert status == 0
    line = next(line for line in output.splitlines() if "benchmarks compare" in line).partition(";")[0]
    words = shlex.split(line)
    assert words[words.index("--dataset") + 1] == dataset
    assert words[words.index("--tasks") + 1] == tasks
    assert words[words.index("--methods") + 1] == "dan jan"
