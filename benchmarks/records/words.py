"""Wording shared by commands and pages: a number with its noun, the command that reproduces results."""

from __future__ import annotations

from collections.abc import Sequence


def plural(number: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def reproduce(
    paper: str, experiment: str, datasets: Sequence[str] = (), track: str = "", backbone: str = "", seeds: int = 0
) -> str:
    """The command that reproduces the results of one experiment.

    Every choice with a default is named as well, so that the command keeps its meaning when a default changes.

    Args:
        paper: module name.
        experiment: its name.
        datasets: data sets; ``folder`` stands for any folder.
        track: as in the specs.
        backbone: likewise.
        seeds: number of seeds or splits; 0 for the experiment's own.
    """
    data = " ".join("folder:PATH" if name == "folder" else name for name in datasets)
    words = {
        "EXPERIMENT": experiment,
        "DATASET": f'"{data}"' if " " in data else data,
        "TRACK": track,
        "BACKBONE": backbone,
        "SEEDS": str(seeds or ""),
    }
    return " ".join([f"make reproduce-{paper}", *(f"{name}={value}" for name, value in words.items() if value)])
