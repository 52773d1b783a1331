"""The command `lomt`: `demo`, `fit`, `report`, `measure` and `export`."""

from collections.abc import Sequence

from lomt.config import Config
from lomt.fit import fit
from lomt.plots import PLOTS
from mtl_core.commands import command_line


def stages(config: Config, tasks: Sequence[str]) -> dict[str, tuple[int, float]]:
    """A sparse network for each task, strength and seed, then one for all."""
    sparse = len(tasks) * max(1, len(config.lambdas)) * config.seeds
    return {"sparse networks": (config.sparse_epochs or config.epochs, sparse), "layers attached": (config.epochs, 1)}


main = command_line(
    "lomt",
    Config,
    fit,
    plots=PLOTS,
    description="Find by group sparsity where in a backbone each task's decoder belongs, and train the model built so.",
    demo={
        "rooms": {"lambdas": (0.007, 0.015, 0.03), "epochs": 8, "sparse_epochs": 5},
        "domains": {"lambdas": (0.003, 0.01, 0.03), "epochs": 4, "sparse_epochs": 4},
    },
    stages=stages,
)

if __name__ == "__main__":
    raise SystemExit(main())
