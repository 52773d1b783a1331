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
        self._rows = self._read()

    def find(self, **key: object) -> dict[str, str] | None:
        """The row of a training, if it is there."""
        wanted = {name: str(value) for name, value in key.items()}
        return next((row for row in self._rows if all(row[name] == wanted[name] for name in self._key)), None)

    def add(self, row: Mapping[str, object]) -> None:
        """Append a finished training to the file; columns may be new, and other processes may have added rows."""
        self._rows = self._read()
        self._rows.append({name: str(value) for name, value in row.items()})
        columns = list(dict.fromkeys(name for each in self._rows for name in each))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".writing")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)
        temporary.replace(self._path)

    def _read(self) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def mean_and_deviation(values: Iterable[float], digits: int = 1) -> str:
    """`mean ± standard deviation`, as a table shows it.

    Examples:
        >>> mean_and_deviation([1.0, 2.0, 3.0])
        '2.0 ± 1.0'
    """
    found = list(values)
    deviation = statistics.stdev(found) if len(found) > 1 else math.nan
    return f"{statistics.mean(found):.{digits}f} ± {deviation:.{digits}f}"
