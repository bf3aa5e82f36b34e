"""Every method against its own baseline: on Office-31 for the README, on all data for the findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.machine.errors import UserError
from benchmarks.records.words import plural
from methods.contract import Paper
from report import build, claims, front, ledger, records
from report.contestants import RELEASED, Contestant, contestants
from report.figures import draw
from report.figures.charts import Chart
from report.records import AVERAGE, PROTOCOLS, TRACKS
from report.statistics import Comparison

DATASET = "office31"
BEGIN, END = "<!-- made by `make paper-tables` from results/ -->\n", "<!-- end of what `make paper-tables` makes -->\n"
HEADER = (
    "| method | network, track | protocol | n | baseline | method | gain | 95 % interval | the paper's gain | gains? |",
    "|---|---|---|---:|---:|---:|---:|---:|---:|---|",
)
SHORT_HEADER = (
    "| paper | protocol, network, track | gain as printed | as released | the paper's gain | gains? |",
    "|---|---|---:|---:|---:|---|",
)
WORDS_BEGIN, WORDS_END = "<!-- words, from report/front.py -->\n", "<!-- end of the words -->\n"
WORDS = {claims.REPRODUCED: "yes", claims.REVERSED: "**loses**", claims.NO_DIFFERENCE: "none"}
"""Verdict on the gain -> text in the table."""


def table(papers: Mapping[str, Paper], results: Path) -> str:
    """The README's table, from the committed results only: a row for every paper of the suite.

    It shows the paper's own method on Office-31, on the first protocol and track it was run on, on the network of the
    paper's experiments if there are results for it.

    Raises:
        UserError: a malformed file.
    """
    found = [one for one in _full_methods(papers, results) if one.group.dataset == DATASET]
    released = {(one.paper, one.group): one for one in _contestants(papers, results, released=True) if _released(one)}
    lines = []
    for name in front.order(papers.items()):
        paper = papers[name]
        if paper.comparator:
            continue
        title = f"{paper.title} ({paper.venue} {paper.year}, `{name}`)"
        ours = [one for one in found if one.paper == name]
        if not ours:
            told = front.in_short(ledger.of_paper(name, paper, results, {}))
            lines.append([title, "-", "-", "-", "-", told or "-"])
            continue
        one = ours[0]
        gap, beside = one.run.compare(one.entry, one.base), released.get((name, one.group))
        theirs = beside.run.compare(beside.entry, beside.base) if beside else None
        where = f"{one.group.protocol}, {one.group.backbone}, {one.group.track}"
        gain, gains = _gain(gap), _gains(gap, one.run.over)
        for other in one.others:
            further = one.run.compare(one.entry, other)
            gain += f"; over {other.label} {_gain(further)}"
            gains += f"; over {other.label} {_gains(further, one.run.over)}"
        lines.append([title, where, gain, _gain(theirs), _theirs(one, paper, results), gains])
    return _table(SHORT_HEADER, lines)


def _gain(gap: Comparison | None) -> str:
    return f"{gap.effect:+.2f} ± {gap.se:.2f}" if gap else "-"


def _released(one: Contestant) -> bool:
    return one.entry.row.method == one.paper and one.entry.row.variant == RELEASED


def every_table(papers: Mapping[str, Paper], results: Path) -> str:
    """All methods on all data, networks and protocols, for the findings: Office-31 first.

    Raises:
        UserError: a malformed file.
    """
    found = _full_methods(papers, results)
    found.sort(key=lambda one: (one.group.dataset != DATASET, one.group.dataset))
    header = (f"| data {HEADER[0]}", f"|---{HEADER[1]}")
    lines = []
    for one in found:
        lines.append([one.group.dataset, *_fields(one, papers[one.paper], results)])
        for other in one.others:
            label, *rest = _fields(replace(one, base=other), papers[one.paper], results)
            lines.append([one.group.dataset, f"{label}, over {other.label}", *rest])
    return _table(header, lines)


def glossary() -> str:
    """The README's glossary, one entry per line."""
    return "\n".join(f"* **{word}**: {meaning}" for word, meaning in front.GLOSSARY.items()) + "\n"


def _contestants(papers: Mapping[str, Paper], results: Path, *, released: bool = False) -> list[Contestant]:
    """Rows of the suite's papers; with ``released``, also those with their authors' values."""
    loaded = [
        (name, experiment, build.load(name, experiment, None, results).frame)
        for name, paper in papers.items()
        if not paper.comparator
        for experiment in paper.experiments
        if experiment.default or (released and any(row.variant == RELEASED for row in experiment.rows))
    ]
    return contestants(loaded, released=released)


def _full_methods(papers: Mapping[str, Paper], results: Path) -> list[Contestant]:
    """Every paper's own full method, by protocol, track and year, with the network of its experiments first."""

    def place(one: Contestant) -> tuple[int, int, int, bool]:
        paper, group = papers[one.paper], one.group
        usual = any(experiment.backbone == group.backbone for experiment in paper.experiments if experiment.default)
        return PROTOCOLS.index(group.protocol), TRACKS.index(group.track), paper.year, not usual

    return sorted((one for one in _contestants(papers, results) if one.own), key=place)


def _table(header: tuple[str, str], lines: list[list[str]]) -> str:
    return "\n".join((*header, *(f"| {' | '.join(fields)} |" for fields in lines))) + "\n"


def _fields(one: Contestant, paper: Paper, results: Path) -> list[str]:
    gap, base, own = (
        one.run.compare(one.entry, one.base),
        *(one.run.mean(entry) for entry in (one.base, one.entry)),
    )
    assert base is not None
    assert own is not None
    return [
        one.label,
        f"{one.group.backbone}, {one.group.track}",
        f"{one.group.protocol}, {plural(len(one.run.tasks), 'task')}",
        str(gap.n if gap else "-"),
        f"{base.mean:.1f} ± {base.se:.1f}",
        f"{own.mean:.1f} ± {own.se:.1f}",
        f"{gap.effect:+.2f} ± {gap.se:.2f}" if gap else "-",
        f"{gap.low:+.2f} to {gap.high:+.2f}" if gap else "-",
        _theirs(one, paper, results),
        _gains(gap, one.run.over),
    ]


def _gains(gap: Comparison | None, over: str) -> str:
    """``yes``, ``yes, mixed``, ``**loses**``, ``none``, ``undecided (about 8 seeds)``."""
    judged = claims.verdict(gap)
    return claims.in_words(gap, over=over).replace(judged, WORDS.get(judged, judged), 1)


def _theirs(one: Contestant, paper: Paper, results: Path) -> str:
    """The gain stated in the paper for the same data, with its network."""
    names = [name for experiment in paper.experiments if experiment.default for name in experiment.published]
    for beside in records.read_published(results / "published.csv", paper.key or one.paper, list(dict.fromkeys(names))):
        method, base = (beside.name_of(paper.published_rows.get(entry.row.name)) for entry in (one.entry, one.base))
        gain = beside.difference(method, base, AVERAGE) if records.same_data(beside, one.group) else None
        if gain is not None:
            return f"{gain.value:+.1f}{' (unverified)' if gain.mark else ''}, {beside.backbone}"
    return "-"


def figures(papers: Mapping[str, Paper], results: Path) -> dict[Path, Chart]:
    """The README's pictures, by their paths without suffix below the folder of the tables.

    The first figure of every experiment that names a picture, on the data with most of its cells; none if nothing is
    committed.

    Raises:
        UserError: a malformed file.
    """
    found = {}
    for name, paper in papers.items():
        for experiment in paper.experiments:
            if not experiment.picture:
                continue
            loaded = build.load(name, experiment, None, results)
            if loaded.groups:
                group = max(loaded.groups, key=lambda one: len(records.of_group(loaded.frame, one)))
                chart, *_ = draw.of_experiment(name, paper, experiment, loaded.frame, group, results)
                found[Path(name) / experiment.picture] = chart
    return found


def inserted(page: str, text: str, name: str, begin: str = BEGIN, end: str = END) -> str:
    """The named page, the README or the findings, with the table between its marks.

    Raises:
        UserError: the marks are not there exactly once and in order.
    """
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise UserError(f"{name} must have the lines {begin.strip()!r} and {end.strip()!r}, once each.")
    before, after = page.split(begin)[0], page.split(end)[1]
    return f"{before}{begin}\n{text}\n{end}{after}"
