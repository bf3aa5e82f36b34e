"""Published numbers and the mapping of their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.machine.errors import UserError
from methods import contract
from report.records import PROVENANCE, WORTH, Group, PublishedDifference, read_published, same_data, task_name
from tests.report.samples import write_published

LINES = [
    ("CNN", "Avg", "70.1", "", "paper"),
    ("CNN", "A->W", "61.6", "0.5", "paper"),
    ("DAN", "A->W", "68.5", "0.4", "unverified"),
    ("DAN", "Avg", "72.9", "", "paper"),
]


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("amazon:webcam", "A->W"),
        ("dslr:amazon", "D->A"),
        ("webcam:caltech", "W->C"),
        ("amazon+dslr:webcam", "A,D->W"),
        ("mnist:optdigits", None),
        ("amazon+mnist:webcam", None),
        ("amazon", None),
    ],
)
def test_task_names(task: str, name: str | None) -> None:
    assert task_name(task) == name


def test_reads_one_table(tmp_path: Path) -> None:
    (table,) = read_published(write_published(tmp_path / "published.csv", LINES), "dan", ["Table1"])
    assert (table.name, table.backbone, table.dataset) == ("Table1", "AlexNet", "Office-31")
    assert table.tasks == ("A->W", "Avg"), "the average comes last"
    assert table.rows["CNN"]["A->W"].value == 61.6
    assert table.rows["CNN"]["A->W"].spread == 0.5
    assert table.rows["CNN"]["Avg"].spread is None
    assert (table.rows["CNN"]["A->W"].mark, table.rows["DAN"]["A->W"].mark) == ("", "*")
    assert table.difference("DAN", "CNN", "Avg") == PublishedDifference(pytest.approx(2.8), "", "")
    unverified = table.difference("DAN", "CNN", "A->W")
    assert unverified == PublishedDifference(pytest.approx(6.9), "*", ""), "one unverified number is enough"
    assert table.difference("CNN", "CNN", "Avg") is None
    assert table.difference("DAN", None, "Avg") is None
    assert table.difference("DAN", "CNN", "D->W") is None


def test_other_papers_and_tables_are_left_out(tmp_path: Path) -> None:
    path = write_published(tmp_path / "published.csv", LINES)
    assert read_published(path, "jan", ["Table1"]) == []
    assert read_published(path, "dan", ["Table2"]) == []
    assert read_published(tmp_path / "absent.csv", "dan", ["Table1"]) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("DAN", "W->D", "high", "", "paper"), "line 6: accuracy is 'high'"),
        (("DAN", "W->D", "99", "some", "paper"), "line 6: spread is 'some'"),
        (("DAN", "W->D", "99", "", "hearsay"), "line 6: unknown provenance 'hearsay'"),
        (("DAN", "Avg", "99", "", "paper"), "line 6: DAN on Avg is given twice"),
    ],
)
def test_malformed_rows(tmp_path: Path, line: tuple[str, ...], message: str) -> None:
    path = write_published(tmp_path / "published.csv", [*LINES, line])
    with pytest.raises(UserError, match=message):
        read_published(path, "dan", ["Table1"])


@pytest.mark.parametrize("order", [1, -1])
def test_a_number_given_alike_twice_is_that_of_the_better_source(tmp_path: Path, order: int) -> None:
    twice = [("JAN", "A->W", "74.9", "", "quoted"), ("JAN", "A->W", "74.9", "0.3", "unverified")][::order]
    (table,) = read_published(write_published(tmp_path / "published.csv", [*LINES, *twice]), "dan", ["Table1"])
    found = table.rows["JAN"]["A->W"]
    assert (found.value, found.spread, found.provenance) == (74.9, None, "quoted")
    assert set(WORTH) == set(PROVENANCE)


def test_a_method_is_found_under_the_first_name_that_a_table_has(tmp_path: Path) -> None:
    (table,) = read_published(write_published(tmp_path / "published.csv", LINES), "dan", ["Table1"])
    assert table.name_of(("ResNet-50", "CNN", "DAN")) == "CNN"
    assert table.name_of("DAN") == "DAN"
    assert table.name_of("JAN") is table.name_of(("JAN", "RTN")) is table.name_of(None) is None


def test_same_data_needs_the_same_protocol(tmp_path: Path) -> None:
    (office,) = read_published(write_published(tmp_path / "a.csv", LINES), "dan", ["Table1"])
    (caltech,) = read_published(write_published(tmp_path / "b.csv", LINES, "Office-10+Caltech-10"), "dan", ["Table1"])
    assert same_data(office, Group("office31", "full", "alexnet", "finetune"))
    assert not same_data(office, Group("office31", "down-sampled", "alexnet", "finetune"))
    assert not same_data(office, Group("office-caltech10", "full", "alexnet", "finetune"))
    assert same_data(caltech, Group("office-caltech10", "full", "alexnet", "finetune"))
    assert not same_data(office, Group("digits-mini", "full", "lenet", "finetune"))


def test_every_committed_provenance_is_explained() -> None:
    import pandas as pd

    path = Path(__file__).parents[2] / "results" / "published.csv"
    assert set(pd.read_csv(path, dtype=str, keep_default_na=False)["provenance"]) <= set(PROVENANCE)


@pytest.mark.parametrize("name", contract.papers())
def test_declared_tables_and_methods_are_in_the_committed_file(name: str) -> None:
    path, paper = Path(__file__).parents[2] / "results" / "published.csv", contract.papers()[name]
    tables = {table for experiment in paper.experiments for table in experiment.published}
    found = read_published(path, paper.key or name, sorted(tables))
    assert {table.name for table in found} == tables
    mapped = [(names,) if isinstance(names, str) else names for names in paper.published_rows.values()]
    assert set(paper.published_rows) <= {row.name for experiment in paper.experiments for row in experiment.rows}
    rows = {row for table in found for row in table.rows}
    assert {row for names in (*mapped, paper.published_only) for row in names} <= rows


def test_committed_numbers_of_dan() -> None:
    path = Path(__file__).parents[2] / "results" / "published.csv"
    first, second = read_published(path, "dan", ["Table2", "Table1"])
    assert (first.dataset, second.dataset) == ("Office-10+Caltech-10", "Office-31"), "in the order asked for"
    assert second.tasks == ("A->W", "D->W", "W->D", "A->D", "D->A", "W->A", "Avg")
    assert second.difference("DAN", "CNN", "Avg") == PublishedDifference(pytest.approx(2.8), "", "")


def test_committed_numbers_of_jan() -> None:
    path = Path(__file__).parents[2] / "results" / "published.csv"
    names = ["Table1 ResNet", "Table1 AlexNet", "Table2 ResNet", "Table2 AlexNet", "CDAN Office-Home table"]
    tables = read_published(path, "jan", names)
    baselines = [table.name_of(("ResNet-50", "AlexNet")) for table in tables]
    gains = [table.difference("JAN", base, "Avg") for table, base in zip(tables, baselines, strict=True)]
    assert [round(gain.value, 1) for gain in gains if gain] == [8.2, 5.9, 5.1, 5.4, 12.2, 13.9]
    assert all(gain and not gain.mark for gain in gains), "both numbers of each are sourced"
