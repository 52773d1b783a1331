"""The papers' printed figures, for tables that set ours beside theirs: `shared/paper_results`."""

import csv
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "paper_results"


def lines_of(table: str) -> list[dict[str, str]]:
    """The lines of a printed table.

    Args:
        table: Name of its file, without suffix.
    """
    with (FOLDER / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def printed(table: str, row: str, column: str) -> str:
    """A printed figure as a table of ours shows it; one that is known to be wrong says so, with what is right if known.

    Args:
        table: Name of its file, without suffix.
        row: The row's label.
        column: The column's label.

    Raises:
        KeyError: If the paper prints no such figure.

    Examples:
        >>> printed("adapmtl_table1", "AdapMTL (ours)", "Δ_T")
        '2.45'
        >>> printed("dmo_table2", "DMO (ours)", "Ratio")
        '0.14 (misprint for 0.15)'
    """
    for line in lines_of(table):
        if (line["row"], line["column"]) == (row, column):
            value = line["value"].replace("-", "−")
            correct = f" for {line['correct']}" if line["correct"] else ""
            return f"{value} (misprint{correct})" if line["misprint"] == "1" else value
    raise KeyError(f"`{table}` prints no `{column}` of `{row}`.")
