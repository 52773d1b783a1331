"""One of several processes that fit a method together: `python -m mtl_core.testing.worker FILE FOLDER`.

FILE has the method as `METHOD`. What comes out is one line of JSON: weights and findings of a run, and of one that was stopped
half-way and continued.
"""

import importlib.util
import itertools
import json
import sys
from pathlib import Path

from mtl_core.phase import Phase
from mtl_core.testing import samples
from mtl_core.testing.interruption import Stopped, stopped_at, watched
from mtl_core.testing.method import Method, findings_of, weights_of


def main() -> None:
    """Fit, fit and stop, continue."""
    method, folder = load(Path(sys.argv[1])), Path(sys.argv[2])
    data, steps = samples.mixed(), itertools.count()

    def count(phase: Phase) -> None:
        next(steps)

    with watched(count):
        whole = method(data, folder / "whole")
    try:
        with stopped_at(1 + next(steps) // 2):
            method(data, folder / "stopped")
    except Stopped:
        pass
    again = method(data, folder / "stopped")
    print(json.dumps([{"weights": weights_of(result), "report": findings_of(result)} for result in (whole, again)]))


def load(path: Path) -> Method:
    """The `METHOD` of a file."""
    sys.path.insert(0, str(path.parent))  # as pytest does it
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    method = module.METHOD
    assert isinstance(method, Method)
    return method


if __name__ == "__main__":
    main()
