"""A version says what changed: every package's version has its entry, and it is the newest one."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_version_has_an_entry_in_the_changelog(package: Path) -> None:
    """The newest entry of the changelog is that of the version in `pyproject.toml`, and says something."""
    version = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changelog = (package / "CHANGELOG.md").read_text(encoding="utf-8")
    _, *entries = re.split(r"^## (?!Unreleased)", changelog, flags=re.MULTILINE)
    newest, _, content = entries[0].partition("\n")
    assert newest.split()[0].strip("[]") == version
    assert re.search(r"^\* ", content, flags=re.MULTILINE), "the entry is empty"
