"""Studies: a tiny slice of each script runs, and the READMEs show what the rows hold."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
STUDIES = ROOT / "shared" / "studies"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The script of AdapMTL's sparsity study, one pass long."""
    sys.path.insert(0, str(STUDIES))
    try:
        return load("adapmtl_sparsity")
    finally:
        sys.path.remove(str(STUDIES))


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, STUDIES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_a_slice_of_the_sparsity_study_runs(study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One dense and one pruned training of one pass; the table holds a line for each."""
    monkeypatch.setattr(study, "EPOCHS", 1)
    monkeypatch.setattr(study, "WORK", tmp_path / "runs")
    monkeypatch.setattr(study, "SEEDS", (0,))
    data = study.datasets.rooms(study.TASKS)
    rows = study.Rows("adapmtl", "slice", study.KEY, tmp_path)
    for job in (("dense", "MobileNetV2 x 1/4", 0.0, 0), ("adapmtl", "MobileNetV2 x 1/4", 0.5, 0)):
        rows.add({**dict(zip(study.KEY, job, strict=True)), **study.train(data, *job), **study.machine()})
    again = study.Rows("adapmtl", "slice", study.KEY, tmp_path)
    row = again.find(method="adapmtl", backbone="MobileNetV2 x 1/4", sparsity=0.5, seed=0)
    assert row is not None
    assert abs(float(row["zeros.overall"]) - 0.5) < 0.005
    assert study.table(again, data.tasks).count("\n") == 3


def test_the_readme_shows_the_rows(study: ModuleType) -> None:
    """The method card's table is the one that the script makes of the committed rows."""
    tasks = study.datasets.rooms(study.TASKS).tasks
    table = study.table(study.Rows("adapmtl", "sparsity", study.KEY), tasks)
    assert table in (ROOT / "packages" / "adapmtl" / "README.md").read_text(encoding="utf-8")


def test_the_planted_truth_was_found_where_the_readme_says_so() -> None:
    """Ten of ten seeds, by the committed rows."""
    sys.path.insert(0, str(STUDIES))
    try:
        planted = load("adapmtl_planted")
    finally:
        sys.path.remove(str(STUDIES))
    rows = [planted.Rows("adapmtl", "planted", ("seed",)).find(seed=seed) for seed in planted.SEEDS]
    found = sum(float(r["wide"]) > float(r["middle"]) > float(r["narrow"]) for r in rows if r)
    assert f"{found} of {len(rows)} seeds" in (ROOT / "packages" / "adapmtl" / "README.md").read_text(encoding="utf-8")
