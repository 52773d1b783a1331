"""DMTG does what every method must do."""

from collections.abc import Callable
from pathlib import Path

import pytest

import dmtg
from mtl_core.testing import CHECKS, Method

METHOD = Method(__file__, dmtg.fit, dmtg.Config(groups=2, epochs=2, batch_size=3))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check: Callable[[Method, Path], None], tmp_path: Path) -> None:
    """The suite that core ships."""
    check(METHOD, tmp_path)
