"""Every claim in one line: whose it is, what is published, and on how many of its set-ups it holds.

``results/CLAIMS.md`` is made from this; the ledger has the numbers of each set-up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from methods.contract import WHOSE, Paper
from report.claims import (
    MIXED,
    NO_DIFFERENCE,
    NO_EFFECT,
    NOT_RUN,
    REPRODUCED,
    REVERSED,
    RULE,
    TOO_FEW,
    UNDECIDED,
    VERDICTS,
)
from report.ledger import Verdict, expected_false

OURS = "ours"
INTRODUCTION = """# Every claim in one line

Written by `make claims` from [`claims.csv`](claims.csv), which gives effect, interval, p and q for every set-up;
[`claim_cells.csv`](claim_cells.csv) lists the cells behind each. A set-up is a data set under a protocol, on a network
and a track; in a sweep, also a setting. "Ours" marks questions that the paper does not ask: on other data, under
another protocol, or at all.
"""
AGAINST = (REVERSED, NO_DIFFERENCE, UNDECIDED, TOO_FEW, NOT_RUN, REPRODUCED)
"""Verdicts on one of several comparisons that must all hold, those that say most against it first."""
HEADER = ("| claim | where | published | here | ours |", "|---|---|---|---|---|")


@dataclass(frozen=True)
class Statement:
    """A claim over all its set-ups."""

    name: str
    rows: tuple[Verdict, ...]
    """Its rows of the ledger, at least one."""

    @property
    def outcomes(self) -> list[Verdict]:
        """The rows that count, for or against it: of a joint claim the one of each set-up that fits it least."""
        found: dict[tuple[object, ...], Verdict] = {}
        for number, row in enumerate(self.rows):
            place = (row.experiment, row.group, row.whose) if row.joint else (number,)
            found[place] = min(found.get(place, row), row, key=lambda one: AGAINST.index(one.verdict))
        return list(found.values())

    @property
    def first(self) -> Verdict:
        return self.rows[0]

    @property
    def whose(self) -> str:
        """``paper``, ``code`` or ``ours``; ``paper`` if any part of it is the paper's."""
        return next((row.whose for row in self.rows if row.whose != OURS), OURS)

    @property
    def where(self) -> str:
        """The table, figure or page, with the authors' code named if that is the source."""
        return self.first.where if self.whose != "code" else f"{self.first.where} (code)"

    @property
    def published(self) -> str:
        """The published effects, each once; several if there are several data sets."""
        return "; ".join(dict.fromkeys(row.published for row in self.rows if row.published))

    def words(self, *, ours: bool = False) -> str:
        """``reproduced on 5 of 6, undecided on 1 of 6``, how many are mixed, and on how many it was not run.

        Over the set-ups that the paper covers, or over ours; empty if there is none.
        """
        rows = [row for row in self.outcomes if (row.whose == OURS) == ours]
        tried = [row for row in rows if row.verdict != NOT_RUN]
        absent = [row for row in rows if row.verdict == NOT_RUN]
        counts = Counter(row.verdict for row in tried)
        parts = [f"{verdict} on {counts[verdict]} of {len(tried)}" for verdict in VERDICTS if counts[verdict]]
        if len(tried) == 1:
            parts = [tried[0].full_verdict]
        elif mixed := sum(MIXED in row.full_verdict for row in tried):
            parts.append(f"{MIXED} on {mixed}")
        if absent and not tried:
            return absent[0].full_verdict if len(absent) == 1 else f"{NOT_RUN} on {len(absent)}: {absent[0].why}"
        return ", ".join(parts) + (f"; {NOT_RUN} on {len(absent)}" if absent else "")


def statements(rows: Iterable[Verdict]) -> list[Statement]:
    """The claims of one paper, in the order of the ledger."""
    found: dict[str, list[Verdict]] = {}
    for row in rows:
        found.setdefault(row.statement, []).append(row)
    return [Statement(name, tuple(its)) for name, its in found.items()]


def outcomes(rows: Iterable[Verdict]) -> list[Verdict]:
    """The rows of the ledger that count: of a joint claim one for each set-up."""
    papers: dict[str, list[Verdict]] = {}
    for row in rows:
        papers.setdefault(row.paper, []).append(row)
    return [row for its in papers.values() for one in statements(its) for row in one.outcomes]


def counted(rows: Iterable[Verdict], *, ours: bool = False) -> list[tuple[str, int]]:
    """How many set-ups have each verdict, in order: of the paper's claims, or of ours."""
    counts = Counter(row.verdict for row in outcomes(rows) if (row.whose == OURS) == ours)
    return [(verdict, counts[verdict]) for verdict in VERDICTS]


def chance(rows: Sequence[Verdict]) -> str:
    """What to expect by chance from so many tests, in a sentence."""
    called, false = expected_false(rows)
    return (
        f"Of the {called} rows called reproduced or reversed about {false:.1f} are expected to be so by chance: 5 % of "
        "the comparisons without an effect, whose number is estimated from the p-values above 0.5. The column q of the "
        "ledger is the share of false findings among all of its paper with at most this p."
    )


def markdown(papers: Mapping[str, Paper], rows: Sequence[Verdict]) -> str:
    """The text of ``CLAIMS.md``; the same results give the same bytes."""
    rule = [f"- {one}" for one in RULE]
    deltas = ", ".join(f"{name} {delta:g}" for name, delta in NO_EFFECT.items())
    rule.append(f"- no effect is within, by metric: {deltas}")
    rule += [f"- {whose}: {words}" for whose, words in WHOSE.items()]
    parts = [INTRODUCTION, "\n".join(rule) + "\n", chance(rows) + "\n"]
    for name, paper in papers.items():
        if paper.comparator:
            continue
        its = [row for row in rows if row.paper == name]
        lines = [_line(one) for one in statements(its)]
        parts.append(f"## {name}: {paper.title}\n")
        parts.append(f"The paper's: {_sum(its)}. Ours: {_sum(its, ours=True)}.\n")
        parts.append("\n".join((*HEADER, *lines)) + "\n")
    return "\n".join(parts)


def _sum(rows: Sequence[Verdict], *, ours: bool = False) -> str:
    found = [f"{number} {verdict}" for verdict, number in counted(rows, ours=ours) if number]
    return ", ".join(found) or "none"


def _line(one: Statement) -> str:
    name = f" (`{one.name}`)" if one.name != one.first.text else ""
    cells = (f"{one.first.text}{name}", one.where, one.published, one.words(), one.words(ours=True))
    return f"| {' | '.join(cell.replace('|', '/') or '-' for cell in cells)} |"
