"""Pictures of what LOMT found."""

from typing import Any

PLOTS: tuple[Any, ...] = ()
