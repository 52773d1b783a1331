"""What compaction gives: an ordinary module, with a table of what was done."""

import copy
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import fx, nn

from mtl_core.checkpoint import StorageError, read_json, write_text
from mtl_core.compaction.choice import Choice, Kernels
from mtl_core.compaction.table import Table
from mtl_core.components import chosen
from mtl_core.task import Task

FORMAT = 1
"""Version of the file of kernel choices."""


class Compacted(nn.Module):
    """A model that computes what another one did, with less; made by `compact`.

    It is called as the other was. A model of tasks takes `tasks` here, too, and computes nothing that these do not need.
    Its parameters take no gradients until `requires_grad_()` is called: it is for inference.

    Args:
        body: The traced module.
        table: Layers before and after.
        kernels: The kernels chosen.
        tasks: Names of the tasks, if the model takes `tasks` after its inputs.

    Attributes:
        table: Layers before and after; `print(model.table)`.
        kernels: The kernels chosen; `kernels.layers` by the layer's name.
        names: The tasks' names; None for a model without tasks.
        tasks: The tasks by name, None where the model did not know them.
    """

    def __init__(
        self, body: fx.GraphModule, table: Table, kernels: Kernels, tasks: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.body, self.table, self.kernels = body, table, kernels
        self.names = None if tasks is None else tuple(tasks)
        self.tasks: dict[str, Task | None] = dict.fromkeys(self.names or ())
        for node in body.graph.nodes:
            node.meta.clear()  # it holds tensors
        self._inputs = sum(node.op == "placeholder" for node in body.graph.nodes)
        self._parts: dict[tuple[str, ...], fx.GraphModule] = {}
        self.eval()
        self.requires_grad_(False)

    def forward(self, inputs: Any, *more: Any, tasks: Sequence[str] | None = None) -> Any:
        """Compute all outputs, or those of some tasks.

        Args:
            inputs: The first input.
            more: Further inputs; after the last, a model of tasks takes `tasks` here as well.
            tasks: Names of tasks; all for None.
        """
        if self.names is not None and len(more) == self._inputs:
            *more, tasks = more  # type: ignore[assignment]
        if tasks is None:
            return self.body(inputs, *more)
        return self.part(tasks)(inputs, *more)

    def part(self, tasks: Sequence[str]) -> fx.GraphModule:
        """The module that computes these tasks only; it shares all layers with this one.

        Args:
            tasks: Names of tasks.

        Raises:
            TypeError: If the model has no tasks.
            ValueError: If one is not there.
        """
        if self.names is None:
            raise TypeError("`tasks` must be None: the model has no tasks to choose from.")
        names = tuple(chosen(dict.fromkeys(self.names), tasks))
        if names not in self._parts:
            graph = copy.deepcopy(self.body.graph)
            (output,) = (node for node in graph.nodes if node.op == "output")
            given: Any = output.args[0]
            output.args = ({name: given[name] for name in names},)
            part = fx.GraphModule(self.body, graph)
            part.graph.eliminate_dead_code()
            self._parts[names] = fx.GraphModule(part, part.graph)  # made again, it has only what its graph uses
        return self._parts[names]

    def save_kernels(self, path: str | Path) -> None:
        """Write the choice of kernels as JSON, for `compact(model, example, kernels=path)`.

        Args:
            path: Where to.

        Raises:
            StorageError: If it cannot be written.
        """
        layers = {name: choice.to_json() for name, choice in self.kernels.layers.items()}
        stored = {"format": FORMAT, "channels_last": self.kernels.channels_last, "layers": layers}
        try:
            write_text(Path(path), json.dumps(stored, indent=1))
        except OSError as error:
            raise StorageError(f"Cannot write to `{os.fspath(path)}`: {error}.") from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_parts": {}}  # a copy makes its own parts, of its own layers

    def _apply(self, fn: Any, recurse: bool = True) -> "Compacted":
        self._parts.clear()  # a buffer that is moved is another one
        return super()._apply(fn, recurse)


def read_kernels(path: str | Path) -> Kernels:
    """Read what `Compacted.save_kernels` has written.

    Args:
        path: The file.

    Raises:
        StorageError: If it is missing, damaged, or of another format.
    """
    stored = read_json(Path(path))
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise StorageError(f"`{os.fspath(path)}` is not of format {FORMAT}, which this version of mtl-core reads.")
    try:
        layers = {name: Choice.from_json(value) for name, value in stored["layers"].items()}
        return Kernels(layers, str(stored["channels_last"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StorageError(f"`{os.fspath(path)}` is damaged: {error}. Choose the kernels anew.") from error
