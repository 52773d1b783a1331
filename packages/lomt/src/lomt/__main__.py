"""The command `lomt`: `demo`, `fit` and `report`."""

from lomt.config import Config
from lomt.fit import fit
from lomt.plots import PLOTS
from mtl_core.commands import command_line

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
)

if __name__ == "__main__":
    raise SystemExit(main())
