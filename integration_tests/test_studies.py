"""Studies: a tiny slice of each runs, what is done is not done again, and the READMEs show what the rows hold."""

import doctest
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bench
import matplotlib.pyplot as plt
import paper
import pytest
import readme
import rows
import study
from rows import Rows, mean_and_deviation
from study import Named, Study

ROOT = Path(__file__).parent.parent
STUDIES = study.studies()
PACKAGES = sorted(path.name for path in ROOT.glob("packages/*"))


def name_of(named: Named) -> str:
    return f"{named.package}-{named.name}"


@pytest.mark.parametrize("named", STUDIES, ids=name_of)
def test_a_slice_of_each_study_runs(named: Named, tmp_path: Path) -> None:
    """One training of seconds gives the figures that the committed rows have, and every training has the key's columns."""
    figures = named.study.train(tmp_path, **named.study.tiny)
    assert figures
    rows = list(named.rows())
    assert not rows or set(figures) <= set(rows[0])
    assert all(tuple(key) == tuple(named.study.key) for key in named.study.trainings)


@pytest.mark.parametrize("named", STUDIES, ids=name_of)
def test_no_row_is_without_its_training(named: Named) -> None:
    """A row that the study does not list any more would stay in tables for ever."""
    known = [{name: str(value) for name, value in key.items()} for key in named.study.trainings]
    assert [row for row in named.rows() if {name: row[name] for name in named.study.key} not in known] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_readme_shows_the_rows(package: str) -> None:
    """Each table between markers is the one made of the committed rows: otherwise `nox -s results -- --show`."""
    tables = dict(bench.tables_of(package))
    for named in STUDIES:
        if named.package == package:
            tables.update(readme.tables_of(named))
    text = readme.path_of(package).read_text(encoding="utf-8")
    assert set(readme.blocks(text)) <= set(tables)
    assert readme.with_tables(text, tables) == text
    assert (
        text.count("<!-- study: ") + text.count("<!-- bench: ")
        == len(readme.blocks(text))
        == text.count("<!-- end -->")
    )


@pytest.mark.parametrize("named", STUDIES, ids=name_of)
def test_the_pictures_show_the_rows(named: Named) -> None:
    """Each picture was drawn of the committed rows; before the first row there is none."""
    rows = named.rows()
    made = {name: readme.digest_in(readme.picture(named, name)) for name in named.study.pictures}
    assert made == dict.fromkeys(made, rows.digest() if len(rows) else None)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Named, list[int]]:
    """A study of three trainings, with the numbers of those that were done, in folders of its own."""
    done: list[int] = []

    def train(folder: Path, *, number: int) -> dict[str, Any]:
        if number == 2 and not done:
            raise KeyboardInterrupt
        folder.mkdir(parents=True, exist_ok=True)
        done.append(number)
        return {"square": number**2}

    keys = [{"number": number} for number in (1, 2, 3)]
    named = Named("toys", "squares", Study(("number",), keys, train, 1, {"number": 1}))
    rows = Named.rows
    monkeypatch.setattr(Named, "rows", lambda self: rows(self, tmp_path / "results"))
    monkeypatch.setattr(study, "RUNS", tmp_path / "runs")
    return named, done


def test_what_has_a_row_is_not_trained_again(toy: tuple[Named, list[int]]) -> None:
    """Stopped after one training, the next call does the other two; a third does nothing."""
    named, done = toy
    named.rows().add({"number": 1, "square": 1})
    with pytest.raises(KeyboardInterrupt):
        study.work(named)
    done.append(0)
    assert study.work(named) == 0
    assert done == [0, 2, 3]
    assert [row["square"] for row in named.rows()] == ["1", "4", "9"]
    assert all(row["torch"] and row["threads"] for row in named.rows().where(number=3))
    study.work(named)
    assert done == [0, 2, 3]
    assert not list(study.RUNS.rglob("*.lock"))


def test_a_study_whose_data_are_lacking_has_nothing_to_do(toy: tuple[Named, list[int]]) -> None:
    """Its trainings are not missing: they cannot be done here."""
    named, _ = toy
    assert len(named.missing()) == 3
    lacking = Named("toys", "squares", replace(named.study, lacking=lambda: "a folder"))
    assert lacking.missing() == []


def test_a_training_that_another_process_is_at_is_left_to_it(toy: tuple[Named, list[int]]) -> None:
    """Its folder is held; the others are done."""
    named, done = toy
    done.append(0)
    held = repr(str(study.RUNS / "toys" / "squares" / "2"))
    program = (
        "import pathlib, time; from mtl_core.lock import hold;"
        f"lock = hold(pathlib.Path({held})); print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert study.work(named) == 1
        other.kill()
    assert done == [0, 1, 3]
    assert study.work(named) == 0
    assert done == [0, 1, 3, 2]


def test_a_figure_measured_again_takes_the_place_of_the_old(tmp_path: Path) -> None:
    """Rows have one line for a key; new columns leave older rows empty there."""
    rows = Rows("p", "s", ("what",), tmp_path)
    for row in ({"what": "a", "x": 1}, {"what": "b", "x": 2}, {"what": "a", "x": 3, "y": 4}):
        rows.add(row)
    again = Rows("p", "s", ("what",), tmp_path)
    assert list(again) == [{"what": "b", "x": "2", "y": ""}, {"what": "a", "x": "3", "y": "4"}]
    assert again.digest() == rows.digest()
    rows.add({"what": "b", "x": 5})
    assert again.digest() != rows.digest()


def test_a_picture_is_drawn_again_where_its_rows_changed(
    toy: tuple[Named, list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It carries the hash of its rows."""
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    drawn = []

    def draw(rows: Rows) -> Any:
        drawn.append(len(rows))
        figure = plt.figure(figsize=(1, 1))
        plt.close(figure)
        return figure

    named = Named("toys", "squares", Study(("number",), [], lambda folder: {}, 1, {}, pictures={"p": draw}))
    for number in (1, 1, 2):
        named.rows().add({"number": number})
        readme.draw(named)
    assert drawn == [1, 2]
    assert readme.digest_in(readme.picture(named, "p")) == named.rows().digest()


def test_a_study_that_is_not_there_is_refused() -> None:
    """The message lists those that are."""
    with pytest.raises(
        ValueError, match=r"There must be a study of that name\. Got `adapmtl none`; there are: .*adapmtl"
    ):
        study.studies("adapmtl", "none")


def test_a_spread_of_one_value_is_not_shown() -> None:
    """One seed has no standard deviation."""
    assert mean_and_deviation([-1.0]) == "−1.0"
    assert mean_and_deviation([1.0, 3.0]) == "2.0 ± 1.4"


@pytest.mark.parametrize("module", [rows, readme, paper], ids=lambda module: module.__name__)
def test_the_examples_of_the_scripts_are_right(module: Any) -> None:
    """The doctests of what no package holds."""
    found = doctest.testmod(module)
    assert (found.failed, found.attempted > 0) == (0, True)
