"""The pages: what they say of papers with and without results, their numbers, and basic rules of accessibility."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest
from click.testing import CliRunner

from methods.contract import papers
from report import __main__ as cli
from report import site
from report.figures import charts
from report.figures.charts import Chart
from tests.report.markup import Node, parse
from tests.report.samples import PAPER, experiment_rows, rows, write

ROOT = Path(__file__).resolve().parents[2]
STYLE = (ROOT / "report" / "templates" / "style.css").read_text()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of DAN's committed results, what is published, and invented results of an experiment of each other paper."""
    folder = tmp_path_factory.mktemp("results")
    for name in ("published.csv", "choices.csv"):
        shutil.copyfile(ROOT / "results" / name, folder / name)
    left_out = shutil.ignore_patterns("ablations*", "lambda-office*", "table3*", "a-distance*", "table1-late*")
    shutil.copytree(ROOT / "results" / "dan", folder / "dan", ignore=left_out)
    for name, paper in papers().items():
        if name != "dan":
            (first,) = [one for one in paper.experiments if one.default][:1]
            write(folder / name / f"{first.name}.csv", experiment_rows(name, paper, first))
    return folder


def not_drawn(_chart: Chart, stem: Path, kinds: tuple[str, ...], *, transparent: bool) -> None:
    """Files as of figures, which have tests of their own and take most of the time."""
    assert transparent
    stem.parent.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        stem.with_name(f"{stem.name}.{kind}").touch()


@pytest.fixture(scope="module")
def pages(results: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Node]:
    """Name -> page, made of ``results``."""
    out = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "save", not_drawn)
        patch.setattr(charts, "MANY", 10_000)
        made = site.make(papers(), None, results, out)
    assert made[0] == out / "index.html"
    return {path.name: parse(path.read_text()) for path in made}


@pytest.fixture(scope="module")
def folder(pages: dict[str, Node], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return next(path for path in tmp_path_factory.getbasetemp().glob("site*") if (path / "index.html").is_file())


# ------------------------------------------------------------------------------------------------- what is there


def test_a_page_per_paper_and_every_paper_on_the_overview(pages: dict[str, Node]) -> None:
    assert set(pages) == {"index.html", *(f"{name}.html" for name in papers())}
    rows_of = [row.text for row in pages["index.html"].all("tr")]
    for name, paper in papers().items():
        assert any(text.startswith(name) and paper.title in text for text in rows_of)


def test_papers_without_a_module_are_named(pages: dict[str, Node]) -> None:
    keys = {paper.key or name for name, paper in papers().items()}
    with (ROOT / "results" / "published.csv").open(newline="") as stream:
        wanted = {row["paper"] for row in csv.DictReader(stream) if not row["run_by"]} - keys
    lines = [row for row in pages["index.html"].all("tr") if "no module yet" in row.text]
    assert {next(row.all("th")).text for row in lines} == wanted


def test_every_experiment_has_its_section_or_says_that_nothing_is_there(pages: dict[str, Node], results: Path) -> None:
    for name, paper in papers().items():
        page = pages[f"{name}.html"]
        sections = {section.attributes["id"]: section for section in page.all("section")}
        assert set(sections) == {experiment.name for experiment in paper.experiments}
        for experiment in paper.experiments:
            there = (results / name / f"{experiment.name}.csv").is_file()
            says = "No results of this experiment here." in sections[experiment.name].text
            assert says != there


def test_every_claim_has_one_line(pages: dict[str, Node]) -> None:
    """On its paper's page and on the overview."""

    def labels(page: str) -> list[str]:
        (grid,) = (one for one in pages[page].all("table") if one.attributes.get("data-grid") == "statements")
        return [next(line.all("th")).text for line in grid.all("tr")][1:]

    every = []
    for name, paper in papers().items():
        if paper.comparator:
            assert "claims are not tested here" in pages[f"{name}.html"].text
            continue
        wanted = list(dict.fromkeys([*(claim.name for claim in paper.claims), *paper.not_run]))
        assert labels(f"{name}.html") == wanted
        every += [f"{name}: {one}" for one in wanted]
    assert sorted(labels("index.html")) == sorted(every)
    assert "are expected to be so by chance" in pages["index.html"].text


def test_deleting_a_papers_results_makes_its_page_say_so(tmp_path: Path) -> None:
    paper = {"dan": PAPER}
    write(tmp_path / "results/dan/digits.csv", rows())
    site.make(paper, None, tmp_path / "results", tmp_path / "site")
    page = parse((tmp_path / "site/dan.html").read_text())
    assert "There are no results" not in page.text
    (tmp_path / "results/dan/digits.csv").unlink()
    site.make(paper, None, tmp_path / "results", tmp_path / "site")
    page = parse((tmp_path / "site/dan.html").read_text())
    assert "There are no results of dan here." in page.text
    assert "no results yet" in parse((tmp_path / "site/index.html").read_text()).text


def test_this_machines_run_stands_beside_the_committed_one(tmp_path: Path) -> None:
    write(tmp_path / "results/dan/digits.csv", rows())
    local = rows()
    local[0]["value"] = "10.0"
    write(tmp_path / "runs/tables/dan/digits.csv", local)
    site.make({"dan": PAPER}, tmp_path / "runs", tmp_path / "results", tmp_path / "site")
    page = parse((tmp_path / "site/dan.html").read_text())
    (grid,) = (table for table in page.all("table") if table.attributes.get("data-grid") == "accuracy")
    assert {row.all("td").__next__().text for row in grid.all("tr") if list(row.all("td"))} == {
        "committed",
        "this machine",
    }


def test_a_malformed_row_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "papers", lambda: {"dan": PAPER})
    lines = rows()
    lines[3]["value"] = "many"
    write(tmp_path / "results/dan/digits.csv", lines)
    result = CliRunner().invoke(cli.main, ["site"])
    assert result.exit_code == 2
    assert result.stderr == "Error: results/dan/digits.csv, line 5: value is 'many', expected a finite number.\n"
    assert not (tmp_path / "report").exists()


# ------------------------------------------------------------------------------------------------------- numbers


def committed(results: Path) -> dict[tuple[str, str], float]:
    """(cell, metric and selection) -> value, of every results file."""
    found = {}
    for path in results.glob("*/*.csv"):
        with path.open(newline="") as stream:
            for row in csv.DictReader(stream):
                found[row["cell"], f"{row['metric']} {row['selection']}"] = float(row["value"])
    return found


def numbered(ranges: str) -> Iterator[int]:
    for part in filter(None, ranges.split(",")):
        low, _, high = part.partition("-")
        yield from range(int(low), int(high or low) + 1)


def sources_of(page: Node) -> dict[str, list[dict[str, str]]]:
    (script,) = (one for one in page.all("script") if one.attributes.get("id") == "sources")
    found: dict[str, list[dict[str, str]]] = json.loads("".join(map(str, script.children)))
    return found


def test_every_number_is_the_mean_of_its_cells_in_the_results(pages: dict[str, Node], results: Path) -> None:
    """Of every table: each mean of cells, recomputed from the files; each published number, from its line."""
    values = committed(results)
    published = (ROOT / "results" / "published.csv").read_text().splitlines()
    seen = 0
    for name, page in pages.items():
        sources = sources_of(page)
        for button in page.all("button"):
            cell = button.inside("td")
            if button.attributes.get("class") != "why" or cell is None:
                continue
            seen += 1
            if "data-s" in button.attributes:
                words = str(sources["sources"][int(button.attributes["data-s"])])
                line = int(re.findall(r"line (\d+)", words)[-1])
                if " less " not in words.partition(";")[0]:
                    accuracy = next(csv.reader([published[line - 1]]))[7]
                    assert float(button.text.split()[0].rstrip("*")) == pytest.approx(float(accuracy), abs=0.0501)
                continue
            metric = button.attributes.get("data-m", "accuracy last")
            sides = [
                [
                    values[sources["cells"][number]["cell"], metric]
                    for number in numbered(button.attributes.get(key, ""))
                ]
                for key in ("data-c", "data-less")
            ]
            assert sides[0], f"{name}: {button.text} names no cell"
            column = column_of(cell)
            mean = fmean(sides[0]) - (fmean(sides[1]) if sides[1] else 0)
            if column in ("95 % interval", "p"):
                continue
            exact = cell.attributes.get("data-v")  # the overview's first table has none
            if exact is not None:
                assert float(exact) == pytest.approx(mean, rel=2e-6, abs=1e-6), (name, column, button.text)
            assert float(button.text.split()[0]) == pytest.approx(mean, abs=0.0501)
    assert seen > 500


def test_leaderboards_are_of_the_results(pages: dict[str, Node], folder: Path, results: Path) -> None:
    """The file has what the page has, a mean over tasks for every line, and every task's own mean."""
    shown = [one for one in pages["index.html"].all("table") if one.attributes.get("data-grid") == "leaderboard"]
    lines = sum(len(list(table.all("tr"))) - 1 for table in shown)
    with (folder / "leaderboards.csv").open(newline="") as stream:
        rows_of = list(csv.DictReader(stream))
    means = [row for row in rows_of if row["task"] == "mean"]
    assert len(means) == lines > 10
    assert {row["paper"] for row in means} >= {"dan", "jan"}
    assert all(bool(row["comparator"]) == papers()[row["paper"]].comparator for row in means)
    dan = next(row for row in means if (row["dataset"], row["backbone"], row["method"]) == ("office31", "lite0", "DAN"))
    with (results / "dan/table1.csv").open(newline="") as stream:
        values = [
            float(row["value"])
            for row in csv.DictReader(stream)
            if (row["method"], row["variant"], row["backbone"], row["metric"], row["selection"], row["setting"])
            == ("dan", "default", "lite0", "accuracy", "last", "")
        ]
    assert float(dan["accuracy"]) == pytest.approx(fmean(values))
    its = [row for row in rows_of if all(row[name] == dan[name] for name in ("dataset", "track", "backbone", "method"))]
    tasks = [row for row in its if row["protocol"] == "full" and row["task"] != "mean"]
    assert fmean(float(row["accuracy"]) for row in tasks) == pytest.approx(fmean(values))
    assert dan["verdict"].startswith("reproduced")
    assert all((row["gain"] != "") == (row["verdict"] != "") for row in means)


def test_the_overview_says_first_what_reproduced(pages: dict[str, Node]) -> None:
    """In the reader's order; the details are folded up."""
    main = next(pages["index.html"].all("main"))
    heads = [head.text for head in main.all("h2")]
    assert heads == ["What reproduced", "Leaderboards", "How transferable are layers", "Where to go next"]
    (matrix,) = (table for table in main.all("table") if table.attributes.get("class") == "matrix")
    assert [head.text for head in matrix.all("th")][1:4] == ["the paper's", "its released code's", "our own questions"]
    for table in main.all("table"):
        if table.attributes.get("data-grid") in ("statements", "verdicts"):
            assert table.inside("details") is not None


def test_a_papers_page_is_in_the_readers_order(pages: dict[str, Node]) -> None:
    heads = [head.text for head in pages["dan.html"].all("h2")]
    wanted = [
        *("What the paper says", "What we found", "Main table", "Method and deviations"),
        *("What was easy, what was difficult", "Other experiments", "How to regenerate", "How to cite"),
    ]
    assert [head for head in heads if head in wanted] == wanted
    assert list(pages["dan.html"].all("math"))
    assert "@inproceedings{dan," in pages["dan.html"].text
    assert "@misc{ddc," in pages["ddc.html"].text
    assert "@article{adabn," in pages["adabn.html"].text
    assert "TRACK=frozen BACKBONE=lite0" in pages["dan.html"].text


def column_of(cell: Node) -> str:
    """The heading of a table's cell."""
    table, row = cell.inside("table"), cell.inside("tr")
    assert table is not None
    assert row is not None
    place = next(place for place, other in enumerate(row.all("td", "th")) if other is cell)
    return list(next(table.all("tr")).all("th"))[place].text


def test_every_table_has_a_number_that_can_be_traced(pages: dict[str, Node]) -> None:
    for name in papers():
        for table in pages[f"{name}.html"].all("table"):
            if table.attributes.get("data-grid", "verdicts") not in ("verdicts", "statements"):
                assert any(one.attributes.get("class") == "why" for one in table.all("button")), (
                    name,
                    table.attributes,
                )


def test_cells_carry_their_provenance(pages: dict[str, Node], results: Path) -> None:
    sources = sources_of(pages["dan.html"])
    facts = list(sources["facts"])
    cell = next(one for one in sources["cells"] if one["in"][0]["file"] == "results/dan/digits.csv")  # type: ignore[index]
    with (results / "dan/digits.csv").open(newline="") as stream:
        row = next(row for row in csv.DictReader(stream) if row["cell"] == cell["cell"])
    shown = dict(zip(map(str, facts), cell["facts"], strict=True))
    assert shown == {name: row[name] for name in map(str, facts)}
    assert {"seed", "commit", "torch", "device", "variant", "setting"} <= set(shown)


def test_a_record_of_this_machine_adds_specification_and_digests(tmp_path: Path) -> None:
    write(tmp_path / "results/dan/digits.csv", rows())
    record = {"spec": {"seed": 0, "data": {"source": "ab12"}}, "versions": {"torch": "2.14.1"}, "values": []}
    (tmp_path / "runs/cells").mkdir(parents=True)
    (tmp_path / "runs/cells/c0ffee.json").write_text(json.dumps(record))
    site.make({"dan": PAPER}, tmp_path / "runs", tmp_path / "results", tmp_path / "site")
    sources = sources_of(parse((tmp_path / "site/dan.html").read_text()))
    (cell,) = sources["cells"]
    assert cell["record"] == {"spec": record["spec"], "versions": record["versions"]}


# ------------------------------------------------------------------------------------------------- accessibility


def test_ids_are_unique_and_links_lead_somewhere(pages: dict[str, Node], folder: Path) -> None:
    for name, page in pages.items():
        ids = [node.attributes["id"] for node in page.all() if "id" in node.attributes]
        assert len(ids) == len(set(ids)), (name, sorted({one for one in ids if ids.count(one) > 1}))
        for node in page.all():
            for key in ("aria-labelledby", "for"):
                assert node.attributes.get(key, ids[0]) in ids, (name, node.attributes)
        for link in page.all("a"):
            target = link.attributes["href"]
            assert link.text
            if target.startswith("#"):
                assert target[1:] in ids, (name, target)
            elif not target.startswith("https://"):
                assert (folder / target).is_file(), (name, target)


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, Node], folder: Path) -> None:
    for page in pages.values():
        for node in page.all("script", "img", "link", "iframe", "source", "video", "audio", "object", "embed"):
            for key in ("src", "href", "srcset", "data"):
                address = node.attributes.get(key)
                if address is not None and address != "data:,":
                    assert "//" not in address
                    assert (folder / address).is_file(), address
    for path in folder.glob("*.*"):
        if path.suffix in (".css", ".js"):
            text = path.read_text()
            assert "http" not in text
            assert "url(" not in text
            assert "@import" not in text
            assert "fetch(" not in text


def test_headings_landmarks_and_language(pages: dict[str, Node]) -> None:
    for name, page in pages.items():
        (html,) = page.all("html")
        assert html.attributes["lang"] == "en"
        assert next(page.all("title")).text
        for landmark in ("main", "header", "footer"):
            assert len(list(page.all(landmark))) == 1, (name, landmark)
        navigation = [node.attributes.get("aria-label") for node in page.all("nav")]
        assert all(navigation)
        assert len(set(navigation)) == len(navigation)
        main = next(page.all("main"))
        levels = [int(node.tag[1]) for node in main.all("h1", "h2", "h3", "h4", "h5", "h6")]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), (name, levels)
        first = next(node for node in page.all("a"))
        assert first.attributes["href"] == "#main", "the first link skips to the content"


def test_tables_images_and_controls_have_names(pages: dict[str, Node]) -> None:
    for name, page in pages.items():
        labelled = {label.attributes["for"] for label in page.all("label")}
        for table in page.all("table"):
            assert next(table.all("caption")).text
            heads = list(table.all("th"))
            assert all(head.attributes.get("scope") in ("col", "row") for head in heads)
            for row in table.all("tr"):
                assert list(row.all("th")), (name, row.text)
        for image in page.all("img"):
            assert len(image.attributes["alt"]) > 20
        for control in page.all("input", "select", "textarea"):
            assert control.attributes["id"] in labelled
        for button in page.all("button"):
            assert button.text
        for node in page.all():
            if node.attributes.get("tabindex") == "0":
                assert node.tag == "pre" or node.attributes.get("role") == "group", (name, node.attributes)
            assert int(node.attributes.get("tabindex", "0")) <= 0
            assert not any(key.startswith("on") for key in node.attributes)


def themes() -> dict[str, dict[str, str]]:
    """Name -> the colours of a theme."""
    found = {}
    for name, pattern in (
        ("light", r":root \{(.*?)\n\}"),
        ("dark by choice", r':root\[data-theme="dark"\] \{(.*?)\n\}'),
        ("dark by the system", r':root:not\(\[data-theme="light"\]\) \{(.*?)\n  \}'),
    ):
        (body,) = re.findall(pattern, STYLE, re.DOTALL)[:1]
        found[name] = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", body))
    return found


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2, 1 to 21."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_hand() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark by choice", "dark by the system"])
def test_text_stands_out(theme: str) -> None:
    colors = themes()[theme]
    pairs = [(text, ground) for text in ("text", "soft", "link") for ground in ("page", "panel")]
    pairs += [(text, "page") for text in ("good", "bad", "open", "none")]
    pairs += [(text, f"{text}-panel") for text in ("good", "bad", "open", "none")]
    for text, ground in pairs:
        assert contrast(colors[text], colors[ground]) >= 4.5, (theme, text, ground)
    assert contrast(colors["focus"], colors["page"]) >= 3
    assert set(colors) == set(themes()["light"])


def test_both_dark_themes_are_the_same() -> None:
    found = themes()
    assert found["dark by choice"] == found["dark by the system"]


def test_a_published_gain_on_the_overview_says_of_which_data_it_is(pages: dict[str, Node]) -> None:
    published = [one for one in pages["index.html"].all("td") if re.search("; (published|a reimpl)", one.text)]
    assert published
    for one in published:
        ours, theirs = re.split("; (?:published|a reimplementation's)", one.text)
        dataset = re.findall(r"\(([^,]+), ", ours)[-1]
        assert re.search(f"on {dataset}, [A-Z]", theirs), "its network too"
