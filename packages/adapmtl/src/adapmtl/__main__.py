"""The command `adapmtl`: `demo`, `fit`, `report`, `measure` and `export`."""

from adapmtl.fit import Config, fit
from adapmtl.plots import PLOTS
from mtl_core.commands import command_line

main = command_line(
    "adapmtl",
    Config,
    fit,
    plots=PLOTS,
    description="Prune a multi-task network while it is trained, to the sparsity that you ask for.",
)

if __name__ == "__main__":
    raise SystemExit(main())
