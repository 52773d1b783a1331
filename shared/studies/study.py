"""A study: a list of trainings, each a row of a CSV file once it is finished, and what a README shows of the rows.

A study is a module `shared/studies/PACKAGE/NAME.py` that defines `STUDY`. Its rows are `shared/results/PACKAGE/NAME.csv`; a
training whose row is there is not done again, also in another clone; one that was killed resumes in its folder under
`runs/studies` (or where the environment variable `MTL_RUNS` points). Several processes may work on one study: each takes a
training that nobody else is at.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rows import Rows

from mtl_core.checkpoint import StorageError
from mtl_core.lock import hold

ROOT = Path(__file__).parent.parent.parent
STUDIES = Path(__file__).parent
RUNS = Path(os.environ.get("MTL_RUNS", ROOT / "runs" / "studies"))


@dataclass(frozen=True)
class Study:
    """What to train, and what to show of it.

    Args:
        key: Columns that name a training.
        trainings: A value for each column of `key`, one mapping a training, in the order in which they are done.
        train: `train(folder, **key) -> figures`; `folder` is the training's own, for a `Run`.
        seconds: About how long one training takes on one core.
        tiny: Arguments of a call of `train` that takes seconds: the tests make it, so that no script rots.
        tables: Markdown of the rows, by the name that the README's marker has.
        pictures: Figures of the rows, by file name without suffix; written to the package's `images` as PNG.
        lacking: Says what the trainings need and this machine has not, as a folder of data; empty where nothing is lacking.
    """

    key: Sequence[str]
    trainings: Sequence[Mapping[str, Any]]
    train: Callable[..., Mapping[str, Any]]
    seconds: float
    tiny: Mapping[str, Any]
    tables: Mapping[str, Callable[[Rows], str]] = field(default_factory=dict)
    pictures: Mapping[str, Callable[[Rows], Any]] = field(default_factory=dict)
    lacking: Callable[[], str] = str


@dataclass(frozen=True)
class Named:
    """A study with the package and the name that its place gives it."""

    package: str
    name: str
    study: Study

    def rows(self, folder: Path | None = None) -> Rows:
        """The rows that are there."""
        return Rows(self.package, self.name, self.study.key, *([folder] if folder else []))

    def missing(self) -> list[Mapping[str, Any]]:
        """The trainings that have no row yet, and that can be done here."""
        if self.study.lacking():
            return []
        rows = self.rows()
        return [key for key in self.study.trainings if rows.find(**key) is None]


def studies(package: str = "", name: str = "") -> list[Named]:
    """The studies there are: all, those of a package, or one.

    Raises:
        ValueError: If there is none.
    """
    found = sorted(STUDIES.glob(f"{package or '*'}/{name or '*'}.py"))
    if not found:
        known = ", ".join(sorted(f"{path.parent.name} {path.stem}" for path in STUDIES.glob("*/*.py")))
        raise ValueError(f"There must be a study of that name. Got `{package} {name}`; there are: {known}.")
    return [Named(path.parent.name, path.stem, load(path)) for path in found]


def load(path: Path) -> Study:
    """The `STUDY` of a file."""
    name = f"study_{path.parent.name}_{path.stem}".replace("-", "_")
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    study = module.STUDY
    assert isinstance(study, Study)
    return study


def work(named: Named) -> int:
    """Do the trainings that are missing and that no other process is at; give how many were left to others."""
    rows, left = named.rows(), 0
    for key in named.missing():
        folder = RUNS / named.package / named.name / _folder_name(key)
        try:
            lock = hold(folder)
        except StorageError:
            left += 1
            continue
        rows.refresh()
        if rows.find(**key) is None:  # another process may just have ended it
            start = time.monotonic()
            figures = named.study.train(folder, **key)
            rows.add({**key, **figures, **machine()})
            print(f"{named.package} {named.name} {_spoken(key)}: {time.monotonic() - start:.0f} s", flush=True)
        del lock
        shutil.rmtree(folder, ignore_errors=True)
    return left


def machine() -> dict[str, object]:
    """Where a figure was made, and of which sources; `+` where they had changes that no commit holds."""
    commit = _git("rev-parse", "--short", "HEAD")
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit + ("+" if commit and _git("status", "--porcelain", "--", ":(glob)packages/*/src/**") else ""),
    }


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout.strip()


def _folder_name(key: Mapping[str, Any]) -> str:
    return "-".join(re.sub(r"[^\w.]+", "_", str(value)) for value in key.values())


def _spoken(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in key.items())
