"""Rows of a study: one finished training each, kept in a CSV file, so that what is there is not trained again."""

import csv
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent.parent / "results"


class Rows:
    """The rows of `shared/results/PACKAGE/STUDY.csv`.

    Args:
        package: Name of the package.
        study: Name of the study.
        key: Columns that name a training.
        folder: Where `PACKAGE/STUDY.csv` lies.
    """

    def __init__(self, package: str, study: str, key: Sequence[str], folder: Path = RESULTS) -> None:
        self._path, self._key = folder / package / f"{study}.csv", tuple(key)
        self._rows: list[dict[str, str]] = []
        if self._path.exists():
            with self._path.open(newline="", encoding="utf-8") as file:
                self._rows = list(csv.DictReader(file))

    def find(self, **key: object) -> dict[str, str] | None:
        """The row of a training, if it is there."""
        wanted = {name: str(value) for name, value in key.items()}
        return next((row for row in self._rows if all(row[name] == wanted[name] for name in self._key)), None)

    def add(self, row: Mapping[str, object]) -> None:
        """Append a finished training to the file; columns may be new."""
        self._rows.append({name: str(value) for name, value in row.items()})
        columns = list(dict.fromkeys(name for each in self._rows for name in each))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".writing")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)
        temporary.replace(self._path)

    def values(self, column: str, **wanted: object) -> list[float]:
        """A column's numbers over the rows that have these values."""
        chosen = (row for row in self._rows if all(row[name] == str(value) for name, value in wanted.items()))
        return [float(row[column]) for row in chosen]


def mean_and_deviation(values: Iterable[float], digits: int = 1) -> str:
    """`mean ± standard deviation`, as a table shows it.

    Examples:
        >>> mean_and_deviation([1.0, 2.0, 3.0])
        '2.0 ± 1.0'
    """
    found = list(values)
    deviation = statistics.stdev(found) if len(found) > 1 else math.nan
    return f"{statistics.mean(found):.{digits}f} ± {deviation:.{digits}f}"
