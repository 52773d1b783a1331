"""What every test run shares: shape checks while testing, and `cuda` tests skipped where there is no device.

Pytest loads this file before any of the packages, so that the hook sees all of them.
"""

import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

PYPROJECT = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PYPROJECT["tool"]["ruff"]["lint"]["isort"]["known-first-party"]
SHAPE = re.compile(r"jaxtyping\.\w+\[")


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the arguments of a function whose annotations name shapes; any other function stays as it is.

    So a test that hands over something wrong meets the package's own error, as users do, who have no such checks.
    `forward` is left alone: torch.fx calls it with proxies, which are no tensors.
    """
    annotations = " ".join(map(str, function.__annotations__.values()))
    if function.__name__ == "forward" or not SHAPE.search(annotations):
        return function
    return beartype(function, conf=BeartypeConf(is_pep484_tower=True))  # an int is a float


# The hook looks the checker up by name, and pytest forgets `conftest` where it meets another one further down.
sys.modules["shape_checks"] = sys.modules[__name__]
install_import_hook(PACKAGES, "shape_checks.check_shapes")


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none (torch is imported only if a test asks)."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
