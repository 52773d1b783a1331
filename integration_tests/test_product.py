"""Every backbone has a head here, and every head a backbone; all pairs: `python shared/product.py`."""

import importlib.util
import sys
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "shared" / "product.py"


def load() -> Any:
    specification = importlib.util.spec_from_file_location("product", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["product"] = module
    specification.loader.exec_module(module)
    return module


product = load()
PAIRS = list(zip(product.BACKBONES, cycle([*product.DENSE, *product.IMAGE])))


def test_all_are_there() -> None:
    """The pairs below name every backbone and every head that core makes, timm's networks apart."""
    from mtl_core import backbones, heads

    made = {name for name in backbones.__all__ if name.islower()} - {"from_timm", "load_weights"}
    assert made <= {name.partition(" ")[0] for name, _ in PAIRS}
    assert {name.partition(" ")[0] for _, name in PAIRS} == set(heads.__all__) - {"by_kind"}


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_a_pair_trains_compacts_and_exports(backbone: str, head: str) -> None:
    """Two steps in both regimes, then a smaller model and a file; none of these pairs is refused."""
    assert product.tried(backbone, head) == ""
