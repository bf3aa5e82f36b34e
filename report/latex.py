"""A table as LaTeX, with the packages ``booktabs`` and ``graphicx``."""

from __future__ import annotations

import re

from report.records import COMMITTED, task_name
from report.runs import BOTH
from report.table import MISSING, Cell, Grid, Interval, Number, Table, cell_text, has_marks

PREAMBLE = "% needs \\usepackage{booktabs,graphicx}; made by `make paper-tables`, not by hand\n"
WIDE = 7
"""Number of columns beyond which a table is shrunk to the text width."""

ESCAPES = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"},
    **{"<": "$<$", ">": "$>$", "|": "$|$", "±": "$\\pm$", "≥": "$\\geq$", "≤": "$\\leq$"},
    **{"[": "{[}", "]": "{]}"},
}


def escaped(text: str) -> str:
    """Plain text for LaTeX; an arrow becomes one."""
    parts = text.split("->")
    return "$\\to$".join("".join(ESCAPES.get(char, char) for char in part) for part in parts)


def _cell(cell: Cell) -> str:
    text = escaped(cell_text(cell))
    if cell == MISSING or text == MISSING:
        return "--"
    if isinstance(cell, Interval) or (isinstance(cell, Number) and cell.signed):
        text = re.sub(r"([+-])(?=\d)", r"$\1$", text)
    if isinstance(cell, Number):
        if cell.best:
            return f"\\textbf{{{text}}}"
        if cell.tied:
            return f"\\underline{{{text}}}"
    return text


def _origin(origin: str) -> str:
    """Whose numbers a line has, in words for a reader."""
    return re.sub(rf"^({COMMITTED}|{BOTH})\b", "ours", origin)


def _caption(table: Table) -> str:
    """What the experiment shows, and where; without the suite's own names."""
    group = table.group
    words = table.title.partition(": ")[2] or table.title
    return f"{words} ({group.dataset}, {group.protocol} protocol, {group.backbone}, {group.track})"


def _grid(table: Table, grid: Grid, label: str) -> str:
    words = {i for line in grid.lines for i, cell in enumerate(line.cells) if isinstance(cell, str) and cell != MISSING}
    align = "ll" + "".join("l" if i in words else "r" for i in range(len(grid.columns)))
    head = [grid.heading, "from", *(task_name(column) or column for column in grid.columns)]
    rows = [[escaped(line.label), escaped(_origin(line.origin)), *map(_cell, line.cells)] for line in grid.lines]
    body = [
        f"\\begin{{tabular}}{{{align}}}",
        "\\toprule",
        " & ".join(map(escaped, head)) + " \\\\",
        "\\midrule",
        *(" & ".join(row) + " \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    wide = len(grid.columns) > WIDE
    if wide:
        body = ["\\resizebox{\\textwidth}{!}{%", *body, "}"]
    legend = ["bold: the best of its column and run; underlined: a mean not significantly below the best"]
    legend = legend if has_marks(grid) else []
    notes = [f"{escaped(note)}." for note in (*grid.notes, *legend)]
    below = ["\\par\\smallskip\\footnotesize\\raggedright", *(f"{note}\\par" for note in notes)] if notes else []
    return "\n".join(
        [
            "\\begin{table}[!htbp]",
            "\\centering\\small",
            f"\\caption{{{escaped(_caption(table))}. {escaped(grid.title)}.}}",
            f"\\label{{tab:{label}}}",
            *body,
            *below,
            "\\end{table}",
        ]
    )


def latex(table: Table) -> str:
    """One float per grid; what the table is about is in comments above them."""
    place = "-".join((table.paper, table.experiment, *table.group))
    facts = [f"% {name}: {value}" for name, value in table.facts]
    labels = [re.sub(r"[^A-Za-z0-9-]+", "-", f"{place}-{i}-{grid.name}") for i, grid in enumerate(table.grids)]
    floats = [_grid(table, grid, label) for grid, label in zip(table.grids, labels, strict=True)]
    return "\n".join([f"% {table.title}", *facts, *floats]) + "\n"
