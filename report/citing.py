"""How to cite the papers and the suite, in BibTeX; the suite from ``CITATION.cff``."""

from __future__ import annotations

import re
from pathlib import Path

from methods.contract import Paper

CITATION = Path(__file__).resolve().parents[1] / "CITATION.cff"
JOURNALS = ("JMLR", "Pattern Recognition")
"""Venues whose papers are journal articles."""


def bibtex(name: str, paper: Paper) -> str:
    """The entry of a paper, under the name of its module."""
    kind, place = ("article", "journal") if paper.venue.startswith(JOURNALS) else ("inproceedings", "booktitle")
    if paper.venue == "arXiv":
        kind, place = "misc", "howpublished"
    fields = {
        "title": paper.title,
        "author": " and ".join(paper.authors.split(", ")),
        place: paper.venue,
        "year": str(paper.year),
        "url": paper.link,
    }
    return _entry(kind, name, fields)


def suite() -> str:
    """The entry of the suite, from ``CITATION.cff``."""
    text = CITATION.read_text(encoding="utf-8")

    def value(key: str) -> str:
        found = re.search(rf"^{key}: *\"?(.*?)\"?$", text, re.MULTILINE)
        return found[1] if found else ""

    authors = re.findall(r"^  - name: *\"?(.*?)\"?$", text, re.MULTILINE)
    year = value("date-released")[:4]
    fields = {"title": value("title"), "author": " and ".join(authors), "year": year, "version": value("version")}
    return _entry("software", "deep-transfer-learning-reproduced", fields)


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
