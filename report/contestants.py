"""Rows of tables compared across papers, each with its own baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from methods.contract import Experiment, Row
from report import records
from report.records import Group
from report.runs import Entry, Run, counterpart, entries, runs_of, same_row


@dataclass(frozen=True)
class Contestant:
    """A row of a paper's default experiment, with its baseline."""

    paper: str
    group: Group
    run: Run
    entry: Entry
    base: Entry
    others: tuple[Entry, ...] = ()
    """Further rows over which the paper's own method is shown."""
    usual: bool = True
    """Whether the network is the one that its experiment names."""

    @property
    def label(self) -> str:
        return self.entry.label

    @property
    def own(self) -> bool:
        """Whether it is the paper's own full method."""
        return (self.entry.row.method, self.entry.row.variant) == (self.paper, "default")

    @property
    def method(self) -> tuple[str, str, str]:
        """Method, variant and setting."""
        return self.entry.row.method, self.entry.row.variant, self.entry.setting

    @property
    def is_base(self) -> bool:
        return same_row(self.entry.row, self.base.row)


RELEASED = "authors"
"""The variant with the values of the authors' released code."""


def contestants(
    loaded: Iterable[tuple[str, Experiment, pd.DataFrame]], *, held_out: bool = False, released: bool = False
) -> list[Contestant]:
    """The rows of the default experiments; each method, variant, setting and baseline once per group and tasks.

    So are two variants with the same cells, as where the weight of one is the default of the other.
    From the committed results of a group, or from this machine's if nothing is committed.

    Args:
        loaded: paper, experiment and rows.
        held_out: use the experiments that hold out part of the source instead.
        released: also the rows with the authors' released values, from all other experiments without a sweep.
    """
    found: dict[tuple[object, ...], Contestant] = {}
    for name, experiment, frame in loaded:
        wanted = experiment.holdout > 0 if held_out else experiment.default
        others = released and not experiment.holdout and any(row.variant == RELEASED for row in experiment.rows)
        if not (wanted or others) or experiment.sweep or experiment.recipe_sweep or experiment.cuts or frame.empty:
            continue
        for group in records.groups(frame):
            run = runs_of(frame, group)[0]
            for entry in entries(experiment, [run]):
                base = counterpart(entry.setting, experiment.baseline, experiment, run)
                if run.mean(entry) is None or not run.has(base) or not (wanted or entry.row.variant == RELEASED):
                    continue
                further = (counterpart(entry.setting, row, experiment, run) for row in experiment.also_over)
                beside = tuple(other for other in further if run.has(other))
                usual = group.backbone == experiment.backbone
                one = Contestant(name, group, run, _named(entry, experiment), base, beside, usual)
                key = (*one.method, base.row.method, base.row.variant, group, run.tasks)
                if key not in found or (one.own and not found[key].own):
                    found[key] = one
    shown: dict[tuple[object, ...], Contestant] = {}
    for one in found.values():
        same = (one.group, one.entry.row.method, one.base.row, frozenset(one.run.basis(one.entry).cells))
        if same not in shown or (one.own and not shown[same].own):
            shown[same] = one
    return list(shown.values())


def _named(entry: Entry, experiment: Experiment) -> Entry:
    """The line, called ``DAN, as released`` if its row has only the variant's name."""
    if entry.row.variant != RELEASED or entry.row.label:
        return entry
    full = next((row for row in experiment.rows if (row.method, row.variant) == (entry.row.method, "default")), None)
    return replace(entry, row=replace(entry.row, label=f"{(full or Row(entry.row.method)).name}, as released"))
