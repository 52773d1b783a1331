"""The test kit: what a method, a task, a metric or a model must do, as checks, with small data and hostile models.

`CHECKS` is the conformance suite that every method passes; `check_task`, `check_metric` and `check_model` look at a part of
one's own. Checks raise an `AssertionError` that says what is wrong; nothing here needs pytest.
"""

from mtl_core.testing.conformance import CHECKS
from mtl_core.testing.interruption import Stopped, poisoned, stopped_at, watched
from mtl_core.testing.method import Method
from mtl_core.testing.models import HOSTILE, network
from mtl_core.testing.properties import check_metric, check_model, check_task
from mtl_core.testing.samples import common, images, many, masked, mixed, rare, separate

__all__ = [
    "CHECKS",
    "HOSTILE",
    "Method",
    "Stopped",
    "check_metric",
    "check_model",
    "check_task",
    "common",
    "images",
    "many",
    "masked",
    "mixed",
    "network",
    "poisoned",
    "rare",
    "separate",
    "stopped_at",
    "watched",
]
