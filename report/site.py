"""The report as static HTML pages that need no network: an overview, and a page for each paper."""

from __future__ import annotations

import importlib
import itertools
import math
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.machine.errors import UserError
from benchmarks.records import schema
from benchmarks.records.files import numbered_rows
from benchmarks.records.rules import METRICS
from methods.contract import WHOSE, Experiment, Paper
from report import (
    build,
    citing,
    comparison,
    contributed,
    front,
    kept,
    latex,
    leaderboard,
    ledger,
    mathml,
    prose,
    records,
    statements,
    tuning,
)
from report.again import make_command, replicates
from report.build import Loaded, published_grid
from report.claims import RULE, up_and_down
from report.comparison import Comparison
from report.contestants import contestants
from report.contributed import Contribution
from report.figures import backbones, charts, draw, overview, rules, speed
from report.figures.charts import Chart
from report.leaderboard import Board
from report.ledger import Verdict
from report.pages import TEMPLATES, Sources, environment, grid_view, table_view
from report.records import COMMITTED
from report.table import MISSING, Basis, Grid, Line, Number, Table, as_csv, as_markdown, decision

Drawn = dict[str, list[dict[str, Any]]]
"""``paper/experiment``, or nothing for those over all papers -> what pages say about the figures."""
COMPARE, SPEED = "compare", "speed"
"""The pages of comparisons, and of the measurements of ``make bench``."""
FILES = ("style.css", "site.js")
LONGEST = 600
"""Letters of a figure's description for readers who cannot see it."""
SAID = 2
"""How many of the paper's own claims its page states at the top."""
NOTES = (
    "effect: positive where the claim holds; in percentage points, or in the unit of the metric that decides",
    *RULE,
    "q: share of false findings among all comparisons of the paper with at most this p (Benjamini and Hochberg)",
)
"""Notes under the ledger."""


@dataclass(frozen=True)
class Part:
    """An experiment of a paper with its tables."""

    loaded: Loaded
    tables: list[Table]

    @property
    def experiment(self) -> Experiment:
        return self.loaded.experiment


@dataclass(frozen=True)
class Shown:
    """A paper with everything shown on its page."""

    name: str
    paper: Paper
    parts: list[Part]
    verdicts: list[Verdict]

    @property
    def filled(self) -> list[Part]:
        """The experiments with results."""
        return [part for part in self.parts if part.tables]


def collect(papers: Mapping[str, Paper], runs: Path | None, results: Path) -> list[Shown]:
    """All papers with their results.

    Raises:
        UserError: a malformed file.
    """
    found = []
    for name, paper in papers.items():
        parts = []
        for experiment in paper.experiments:
            loaded = build.load(name, experiment, runs, results)
            # A page shows what a paper is about; a user's own images are on the page of comparisons.
            loaded = replace(loaded, frame=records.of_papers(loaded.frame))
            parts.append(Part(loaded, build.tables(name, paper, loaded, loaded.groups, results)))
        frames = {(name, part.experiment.name): part.loaded.frame for part in parts}
        found.append(Shown(name, paper, parts, ledger.ledger({name: paper}, results, frames)))
    return found


def absent(papers: Mapping[str, Paper], results: Path) -> list[str]:
    """Papers in the published numbers that no module reproduces yet.

    Raises:
        UserError: a malformed row.
    """
    path = results / "published.csv"
    if not path.is_file():
        return []
    known = {paper.key or name for name, paper in papers.items()}
    theirs = [row["paper"] for _, row in numbered_rows(path, schema.PUBLISHED) if not row["run_by"]]
    return [name for name in dict.fromkeys(theirs) if name not in known]


def make(papers: Mapping[str, Paper], runs: Path | None, results: Path, out: Path) -> list[Path]:
    """Write the pages; returns their paths, the overview first.

    Raises:
        UserError: a malformed file, or the folder cannot be written.
    """
    shown = sorted(collect(papers, runs, results), key=lambda one: front.order(papers.items()).index(one.name))
    missing = absent(papers, results)
    nav = [(one.name, one.paper.title) for one in shown]
    compared = comparison.found(runs, results)
    if compared:
        nav.append((COMPARE, "All methods under one recipe"))
    sent = contributed.found(papers, results)
    if sent:
        nav.append((contributed.FOLDER, "Contributed results"))
    try:
        loaded = [(one.name, part.experiment, part.loaded.frame) for one in shown for part in one.filled]
        boards = leaderboard.boards(papers, loaded, results)
        drawn, drawing = draw_all(shown, compared, boards, results, out / "figures")
        out.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(TEMPLATES / name, out / name)
        paths = [_write(out / "index.html", _overview(shown, missing, results, nav, drawn, boards))]
        _write(out / "leaderboards.csv", leaderboard.comma_separated(boards))
        if drawn[SPEED]:
            paths.append(_write(out / f"{SPEED}.html", _speed(nav, drawn[SPEED])))
        for one in tqdm(shown, "pages", unit="", disable=None):
            _downloads(one, out)
            paths.append(_write(out / f"{one.name}.html", _page(one, results, runs, nav, drawn)))
        if sent:
            paths.append(_write(out / f"{contributed.FOLDER}.html", _contributed(sent, nav)))
        if compared:
            paths.append(
                _write(
                    out / f"{COMPARE}.html",
                    _comparisons(compared, comparison.found(None, results), nav, drawn[COMPARE]),
                )
            )
        rows = [row for one in shown for row in one.verdicts]
        _write(out / "claims.csv", ledger.comma_separated(rows))
        _write(out / "claim_cells.csv", ledger.cells_behind(rows))
        for _ in drawing:
            pass
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error
    return paths


def draw_all(
    shown: Sequence[Shown], compared: Sequence[Comparison], boards: Sequence[Board], results: Path, out: Path
) -> tuple[Drawn, Iterable[object]]:
    """Starts drawing every figure.

    Returns:
        What pages say about them, and an iterator that ends when all are drawn.

    Raises:
        UserError: a malformed file.
    """
    frames = [(one.name, part.experiment, part.loaded.frame) for one in shown for part in one.filled]
    found, studied = contestants(frames), contestants(frames, held_out=True)
    measured = speed.of_all(results / "speed" / "speed.csv")
    made: dict[str, list[Chart]] = {"": overview.of_all(found, studied), SPEED: measured}
    made[COMPARE] = [chart for number, one in enumerate(compared) for chart in kept.of_comparison(one, number)]
    for one in shown:
        for part in one.parts:
            loaded = part.loaded
            some = [
                chart
                for group in loaded.groups
                for chart in draw.of_experiment(one.name, one.paper, part.experiment, loaded.frame, group, results)
            ]
            some += draw.map_charts(one.name, part.experiment, results)
            made[f"{one.name}/{part.experiment.name}"] = some
    studies = tuning.studies({one.name: one.paper for one in shown}, results)
    made[""] += [*backbones.of_all(boards), *rules.bars(studies)]
    for study in studies:
        made["/".join(study.place)].append(rules.over_grid(study))
    jobs = [
        (chart, out / (key.partition("/")[0] or "all") / chart.name) for key, some in made.items() for chart in some
    ]
    drawing = charts.save_all(jobs, ("svg", "csv"), transparent=True)  # continues while pages are written
    told: Drawn = {
        key: [
            {
                "path": f"figures/{key.partition('/')[0] or 'all'}/{chart.name}",
                "label": chart.name,
                "alt": textwrap.shorten(chart.alt, LONGEST, placeholder=" ...; the file of data has all."),
                "caption": chart.caption,
                "width": round(chart.size[0] * 96),
                "height": round(chart.size[1] * 96),
            }
            for chart in some
        ]
        for key, some in made.items()
    }
    return told, tqdm(drawing, "figures", len(jobs), unit="", disable=None)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _contributed(sent: Sequence[Contribution], nav: Sequence[tuple[str, str]]) -> str:
    sources = Sources([frame for one in sent for frame in one.frames])
    shown = [
        {"name": one.name, "cells": one.cells, "made": one.made, "boards": _board_views(one.boards, sources, one.name)}
        for one in sent
    ]
    page = environment().get_template("contributed.html")
    return page.render(nav=nav, here=contributed.FOLDER, contributions=shown, data=sources.json())


def _board_views(boards: Sequence[Board], sources: Sources, stem: str) -> list[dict[str, Any]]:
    """Leaderboards for the templates; the notes, which are the same for all, under the first."""
    names = [f"{stem}-{number}" for number in range(len(boards))]
    return [
        grid_view(leaderboard.grid(board, name), sources, name)
        | {"second": "paper", "name": "leaderboard"}
        | ({"notes": []} if number else {})
        for number, (name, board) in enumerate(zip(names, boards, strict=True))
    ]


def _speed(nav: Sequence[tuple[str, str]], drawn: list[dict[str, Any]]) -> str:
    page = environment().get_template("speed.html")
    return page.render(nav=nav, here=SPEED, figures=drawn, data=Sources([]).json(), sourced=False)


def _downloads(shown: Shown, out: Path) -> None:
    """The tables of a paper as files beside its page."""
    for part in shown.filled:
        stem = out / "tables" / shown.name / part.experiment.name
        _write(stem.with_suffix(".md"), "\n".join(map(as_markdown, part.tables)))
        _write(stem.with_suffix(".tex"), latex.PREAMBLE + "\n".join(map(latex.latex, part.tables)))
        _write(stem.with_suffix(".csv"), as_csv(part.tables))


# ------------------------------------------------------------------------------------------------- a paper


def _page(shown: Shown, results: Path, runs: Path | None, nav: Sequence[tuple[str, str]], drawn: Drawn) -> str:
    frames = [part.loaded.frame for part in shown.filled]
    sources = Sources(frames, records.kept(frames, runs, results))
    first = _main(shown)
    parts, seen = [], set[Grid]()
    for part in sorted(shown.parts, key=lambda part: part is not first):
        experiment = part.experiment
        parts.append(
            {
                "name": experiment.name,
                "title": experiment.title,
                "default": experiment.default,
                "command": make_command(shown.name, experiment),
                "tables": [
                    table_view(_once(table, seen), sources, f"{experiment.name}-{number}")
                    | {"command": _again(shown.name, part, table), "older": "training" in dict(table.facts)}
                    for number, table in enumerate(part.tables)
                ],
                "figures": drawn[f"{shown.name}/{experiment.name}"],
                "files": [str(path) for path in part.loaded.paths.values()],
                "published": _published_alone(shown, part, results, sources),
            }
        )
    module = importlib.import_module(f"methods.{shown.name}")
    their_own = [one for one in statements.statements(shown.verdicts) if one.whose == "paper"]
    return (
        environment()
        .get_template("paper.html")
        .render(
            nav=nav,
            here=shown.name,
            name=shown.name,
            paper=shown.paper,
            counts=statements.counted(shown.verdicts),
            ours=statements.counted(shown.verdicts, ours=True),
            statements=_statement_grid(shown.verdicts, "statements", whole=False),
            verdicts=_verdict_grid(shown.verdicts, sources, "claims", whole=False),
            says=[one.first.text for one in their_own[:SAID]],
            sentence=front.in_short(shown.verdicts),
            main=next((part for part in parts if first and part["name"] == first.experiment.name), None),
            bibtex=f"{citing.bibtex(shown.name, shown.paper)}\n\n{citing.suite()}",
            typeset=mathml.typeset,
            prose=prose.blocks(module.__doc__ or ""),
            inline=prose.inline,
            parts=parts,
            filled=len(shown.filled),
            committed=sum(COMMITTED in part.loaded.paths for part in shown.parts),
            choices=_choices(shown.name, results),
            numbers=("value", *METRICS, "criterion"),
            others=[
                grid_view(grid, sources, grid.name) | {"second": "backbone"}
                for grid in others(results, own=(shown.name, *_own_labels(shown)))
            ],
            data=sources.json(),
        )
    )


def _once(table: Table, seen: set[Grid]) -> Table:
    """The table without what its page shows elsewhere: published numbers, and claims of which none was run here."""
    shown = [grid for grid in table.grids if grid.name != "published" or grid not in seen]
    seen.update(shown)
    return replace(table, grids=tuple(grid for grid in shown if grid.name != "claims" or _measured(grid)))


def _measured(grid: Grid) -> bool:
    return any(isinstance(cell, Number) for line in grid.lines for cell in line.cells)


def _again(name: str, part: Part, table: Table) -> str:
    """The command that reproduces one table, as committed or else as run here."""
    frame = part.loaded.frame
    committed = frame[frame["origin"] == COMMITTED]
    rows = committed if table.group in records.groups(committed) else frame
    return make_command(name, part.experiment, group=table.group, seeds=replicates(rows, table.group))


def _main(shown: Shown) -> Part | None:
    """The experiment that a reader wants first: the one with the README's figure, or on Office-31, or the default."""
    filled = [part for part in shown.filled if part.experiment.default] or shown.filled

    def rank(part: Part) -> tuple[bool, bool, bool]:
        one = part.experiment
        return not one.picture, "office31" not in one.recipes, one.protocol != "full" or one.track == "late"

    return min(filled, key=rank, default=None)


def _published_alone(shown: Shown, part: Part, results: Path, sources: Sources) -> list[dict[str, Any]]:
    """Published numbers for an experiment without results here."""
    if part.tables:
        return []
    paper, experiment = shown.paper, part.experiment
    tables = records.read_published(results / "published.csv", paper.key or shown.name, experiment.published)
    grids = [published_grid(paper, experiment, table) for table in tables]
    return [
        grid_view(grid, sources, f"{experiment.name}-published-{number}")
        for number, grid in enumerate(grids)
        if grid is not None
    ]


def _verdict_grid(rows: Sequence[Verdict], sources: Sources | None, name: str, *, whole: bool) -> dict[str, Any]:
    """The ledger as a table; ``whole`` adds the paper."""
    lines = []
    for row in rows:
        found = row.decision.comparison if row.decision else None
        effect, interval, p, n = decision(found, row.decision.traced if row.decision else None)
        q = MISSING if math.isnan(row.q) else Number(row.q, digits=4)
        label = f"{row.paper}: {row.claim}" if whole else row.claim
        told = (row.why or row.full_verdict.removeprefix(row.verdict).strip(" ,()")).replace("`", "")
        what = "; ".join(filter(None, (row.compared, row.where_run, told)))
        cells = (row.text, row.whose, row.published or MISSING, effect, interval, p, q, n)
        lines.append(Line(label, row.verdict, (*cells, *up_and_down(found), what)))
    columns = (
        *("in words", "whose", "published", "effect", "95 % interval", "p", "q", "n", "tasks up", "tasks down"),
        "what decides it, or why it was not run",
    )
    grid = Grid(
        "verdicts", "Every set-up of every claim, by the committed results", columns, tuple(lines), NOTES, "claim"
    )
    return grid_view(grid, sources, name) | {"second": "verdict", "long": True}


def _statement_grid(rows: Sequence[Verdict], name: str, *, whole: bool) -> dict[str, Any]:
    """Every claim in one line; ``whole`` adds the paper."""
    lines = []
    for paper in dict.fromkeys(row.paper for row in rows):
        for one in statements.statements(row for row in rows if row.paper == paper):
            label = f"{paper}: {one.name}" if whole else one.name
            told = (_without_command(one.words()), _without_command(one.words(ours=True)))
            words = (*told, one.first.text, one.where, one.published)
            lines.append(Line(label, one.whose, tuple(word or MISSING for word in words)))
    notes = [f"{whose}: {words}" for whose, words in WHOSE.items()]
    columns = ("in the paper's set-ups", "in ours", "in words", "where", "published")
    grid = Grid("statements", "Claims, each in one line", columns, tuple(lines), tuple(notes), "claim")
    return grid_view(grid, None, name) | {"second": "whose"}


def _without_command(words: str) -> str:
    """What it takes to run a claim, without the command, which is shown with every set-up."""
    return re.sub(r": `make [^`]*`", "", words).replace("`", "")


def _choices(name: str, results: Path) -> list[dict[str, str]]:
    """The settings that the label-free rule chose for a method."""
    path = results / "choices.csv"
    if not path.is_file():
        return []
    rows = [row for _, row in numbered_rows(path, schema.CHOICES) if row["method"] == name]
    place = ("variant", "parameter", "dataset", "backbone", "track")
    for _, grid in itertools.groupby(rows, key=lambda row: [row[column] for column in place]):
        ordered = list(grid)
        for row in ordered:
            taken = "yes, at the edge of the grid" if row in (ordered[0], ordered[-1]) else "yes"
            row["chosen"] = taken if row["chosen"] == "1" else ""
    return rows


# ---------------------------------------------------------------------------------------------- the overview


def _comparisons(
    compared: Sequence[Comparison],
    committed: Sequence[Comparison],
    nav: Sequence[tuple[str, str]],
    drawn: list[dict[str, Any]],
) -> str:
    views = [table_view(kept.table(one, committed), None, f"{COMPARE}-{number}") for number, one in enumerate(compared)]
    page = environment().get_template("compare.html")
    return page.render(nav=nav, here=COMPARE, tables=views, figures=drawn, data=Sources([]).json(), sourced=False)


def _overview(
    shown: Sequence[Shown],
    missing: Sequence[str],
    results: Path,
    nav: Sequence[tuple[str, str]],
    drawn: Drawn,
    boards: Sequence[Board],
) -> str:
    sources = Sources([part.loaded.frame for one in shown for part in one.filled])
    verdicts = [row for one in shown for row in one.verdicts]
    by_paper = front.matrix({one.name: one.verdicts for one in shown})
    told = front.gains(boards, sources)
    papers = [
        {
            "name": one.name,
            "paper": one.paper,
            "filled": len(one.filled),
            "committed": sum(COMMITTED in part.loaded.paths for part in one.parts),
            "experiments": len(one.parts),
            "matrix": by_paper[one.name],
            "sentence": front.in_short(one.verdicts),
            "gain": told.get(one.name),
        }
        for one in shown
    ]
    return (
        environment()
        .get_template("index.html")
        .render(
            nav=nav,
            here="",
            papers=papers,
            comparators=[one for one, its in zip(papers, shown, strict=True) if its.paper.comparator],
            headings=list(front.WHOSE.values()),
            missing=missing,
            figures=drawn[""],
            picture=_picture(shown, drawn),
            speed=bool(drawn[SPEED]),
            glossary=front.GLOSSARY | front.FURTHER,
            names=front.NAMES,
            boards=_board_views(boards, sources, "board"),
            counts=statements.counted(verdicts),
            ours=statements.counted(verdicts, ours=True),
            chance=statements.chance(verdicts),
            statements=_statement_grid(verdicts, "statements", whole=True),
            verdicts=_verdict_grid(verdicts, sources, "claims", whole=True),
            others=[grid_view(grid, sources, grid.name) | {"second": "backbone"} for grid in others(results)],
            data=sources.json(),
        )
    )


def _picture(shown: Sequence[Shown], drawn: Drawn) -> dict[str, Any] | None:
    """The README's figure: the first of the experiment that has one."""
    for one in shown:
        for part in one.filled:
            if part.experiment.picture and (some := drawn[f"{one.name}/{part.experiment.name}"]):
                return some[0]
    return None


def _own_labels(shown: Shown, *experiments: Experiment) -> list[str]:
    """Names of the paper's full method in the tables of some experiments, or of all."""
    rows = [row for one in experiments or shown.paper.experiments for row in one.rows]
    own = [row for row in rows if (row.method, row.variant) == (shown.name, "default")]
    return list(dict.fromkeys(row.name for row in own))


def others(results: Path, own: Sequence[str] = ()) -> list[Grid]:
    """What other suites report, one grid per data set.

    Args:
        results: the folder of committed results.
        own: names of a method; if given, only rows of this method.
    """
    path = results / "published.csv"
    if not path.is_file():
        return []
    found: dict[str, dict[tuple[str, str], dict[str, Number]]] = {}
    for line, row in numbered_rows(path, schema.PUBLISHED):
        if row["provenance"] != "reimplementation":
            continue
        if own and not set(re.findall(r"[A-Za-z0-9]+", row["method"])) & set(own):
            continue
        number = records.accuracy_of(row, path, line)
        place = (f"{row['paper']}: {row['method']}", row["backbone"])
        cells = found.setdefault(row["dataset"], {}).setdefault(place, {})
        cells[row["task"]] = Number(number.value, number.spread, basis=Basis(source=number.where))
    grids = []
    for place_of, (dataset, lines) in enumerate(found.items()):
        tasks = list(dict.fromkeys(task for cells in lines.values() for task in cells))
        tasks = [
            *(task for task in tasks if task != records.AVERAGE),
            *([records.AVERAGE] * (records.AVERAGE in tasks)),
        ]
        shown = tuple(
            Line(label, backbone, tuple(cells.get(task, MISSING) for task in tasks))
            for (label, backbone), cells in lines.items()
        )
        grids.append(Grid(f"others-{place_of}", f"Other suites on {dataset}", tuple(tasks), shown))
    return grids
