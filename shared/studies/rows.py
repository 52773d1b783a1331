"""Rows of a study: one finished training each, kept in a CSV file, so that what is there is not trained again."""

import csv
import hashlib
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

RESULTS = Path(__file__).parent.parent / "results"


class Rows:
    """The rows of `shared/results/PACKAGE/NAME.csv`.

    Args:
        package: Name of the package.
        name: Name of the study.
        key: Columns that name a training.
        folder: Where `PACKAGE/NAME.csv` lies.
    """

    def __init__(self, package: str, name: str, key: Sequence[str], folder: Path = RESULTS) -> None:
        self.path, self._key = folder / package / f"{name}.csv", tuple(key)
        self._rows = self._read()

    def __iter__(self) -> Iterator[dict[str, str]]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, **key: object) -> dict[str, str] | None:
        """The row of a training, if it is there."""
        return next((row for row in self._rows if self._is(row, key)), None)

    def where(self, **some: object) -> list[dict[str, str]]:
        """All rows with these values in these columns."""
        return [row for row in self._rows if all(row[name] == str(value) for name, value in some.items())]

    def add(self, row: Mapping[str, object]) -> None:
        """Put a finished training into the file, in the place of one with its key.

        Columns may be new, and other processes may have added rows in the meantime.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(self.path.with_suffix(".lock")):
            text = {name: str(value) for name, value in row.items()}
            kept = [other for other in self._read() if not self._is(other, row)]
            columns = list(dict.fromkeys(name for each in [*kept, text] for name in each))
            self._rows = [{name: each.get(name, "") for name in columns} for each in [*kept, text]]
            temporary = self.path.with_suffix(".writing")
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(self._rows)
            temporary.replace(self.path)

    def refresh(self) -> None:
        """Read what other processes have added."""
        self._rows = self._read()

    def digest(self) -> str:
        """A hash of the rows, which a picture made of them carries."""
        text = "\n".join(sorted(repr(sorted(row.items())) for row in self._rows))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _is(self, row: Mapping[str, object], key: Mapping[str, object]) -> bool:
        return all(str(row[name]) == str(key[name]) for name in self._key)

    def _read(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def mean_and_deviation(values: Iterable[float], digits: int = 1) -> str:
    """`mean ± standard deviation`, as a table shows it; the mean alone of one value.

    Examples:
        >>> mean_and_deviation([1.0, 2.0, 3.0]), mean_and_deviation([2.0])
        ('2.0 ± 1.0', '2.0')
    """
    found = list(values)
    mean = f"{statistics.mean(found):.{digits}f}".replace("-", "−")
    return mean if len(found) < 2 else f"{mean} ± {statistics.stdev(found):.{digits}f}"


def number(text: str) -> float:
    """A cell as a number; NaN where it is empty."""
    return float(text) if text else math.nan


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Wait until no other process is in here."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
