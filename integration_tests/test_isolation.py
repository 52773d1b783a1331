"""Each package stands alone: a method knows core only, core knows no method, and importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = "mtl_core"
SOURCES = {path.parent.name: path.parent for path in ROOT.glob("packages/*/src/*/py.typed")}
LAZY = ["torchvision", "scipy", "PIL", "networkx", "matplotlib", "tyro", "rich", "onnx", "onnxruntime"]
# Prints what the import changed: modules that must wait until they are used, the random state, the threads.
PROBE = """
import random, sys
import numpy, torch
before = torch.get_rng_state().sum(), random.getstate(), numpy.random.get_state()[1].sum(), torch.get_num_threads()
loaded = set(sys.modules)
flags = torch.is_grad_enabled(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
import {module}
after = torch.get_rng_state().sum(), random.getstate(), numpy.random.get_state()[1].sum(), torch.get_num_threads()
assert before == after, "the import changed the random state or the number of threads"
assert flags == (torch.is_grad_enabled(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled())
assert not torch.cuda.is_initialized(), "the import initialised CUDA"
print(*[name for name in {lazy} if name in sys.modules and name not in loaded], end="")
"""


def imported_packages(module: Path) -> set[str]:
    """Top-level names that a file imports anywhere, lazily included."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_package_imports_no_sibling(name: str) -> None:
    """A method imports core and no other method; core imports no method."""
    others = set(SOURCES) - {CORE, name}
    found = {str(path.relative_to(ROOT)): imported_packages(path) & others for path in SOURCES[name].rglob("*.py")}
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_importing_a_package_does_nothing(name: str) -> None:
    """An import prints nothing, loads nothing slow, and touches neither seeds nor threads nor devices."""
    probe = PROBE.format(module=name, lazy=LAZY)
    result = subprocess.run([sys.executable, "-W", "error", "-c", probe], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
