"""Rules of the repository that a machine can check: sizes, names, where configuration stands, safe loading."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))
TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".csv", ".json", ".txt", ".sh", ""}
# Written so that this file does not match its own rule.
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(work|farm|root|home|tmp|Users)" + r"/\w")
UNSAFE = re.compile(r"\bpickle\b|\btorch\.(load|save)\(|\bjoblib\b|allow_pickle=True|(?<![.\w])(eval|exec)\(")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def texts() -> list[Path]:
    """Text files that git tracks, or every one outside of hidden folders where there is no git."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    paths = [ROOT / name for name in listed.stdout.splitlines()] or list(ROOT.rglob("*"))
    return [path for path in paths if path.is_file() and path.suffix in TEXT]


def test_no_file_names_a_path_of_a_machine() -> None:
    """No file holds an absolute path into somebody's folders."""
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_tools_are_configured_at_the_root_only() -> None:
    """A package's folder holds no configuration of ruff, mypy, pytest or coverage."""
    names = ["ruff.toml", ".ruff.toml", "mypy.ini", "pytest.ini", "tox.ini", "setup.cfg", ".coveragerc", "noxfile.py"]
    assert [relative(path) for name in names for path in ROOT.glob(f"packages/*/{name}")] == []
    for path in ROOT.glob("packages/*/pyproject.toml"):
        assert set(tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})) <= {"hatch"}, relative(path)


def test_a_pyproject_is_short() -> None:
    """A package's `pyproject.toml` stays under 60 lines."""
    paths = ROOT.glob("packages/*/pyproject.toml")
    assert [relative(path) for path in paths if len(path.read_text(encoding="utf-8").splitlines()) >= 60] == []


def test_a_module_is_short() -> None:
    """A module has about 250 lines; above 300 nobody reads it in one piece."""
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {path: lines for path, lines in lengths.items() if lines > 300} == {}


def test_a_module_is_named_after_what_it_holds() -> None:
    """No module is called utils, helpers, misc or common."""
    assert [relative(p) for p in SOURCES if p.stem.strip("_") in {"utils", "util", "helpers", "misc", "common"}] == []


def test_nothing_unpickles_or_evaluates() -> None:
    """No source loads or writes pickles, and none evaluates text."""
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNSAFE.search(line.partition("#")[0])
    ]
    assert found == []


def test_file_stems_of_tests_are_unique() -> None:
    """A test's file is found by its name alone."""
    stems = [path.stem for path in [*ROOT.glob("packages/*/tests/**/*.py"), *ROOT.glob("integration_tests/*.py")]]
    stems = [stem for stem in stems if stem.startswith("test_")]
    assert sorted(stem for stem in set(stems) if stems.count(stem) > 1) == []


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "CONTRIBUTING.md", "CITATION.cff", ".ci/run"])
def test_what_a_stranger_looks_for_is_there(name: str) -> None:
    """The repository has its licence, its introductions and the script that CI runs."""
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("path", sorted(ROOT.glob("packages/*")), ids=lambda path: path.name)
def test_a_package_carries_the_licence(path: Path) -> None:
    """A wheel holds the licence: a package has a copy, since its sdist cannot reach the root's."""
    assert (path / "LICENSE").read_text(encoding="utf-8") == (ROOT / "LICENSE").read_text(encoding="utf-8")
