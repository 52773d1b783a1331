"""The command `dmtg`: `demo`, `fit` and `report`."""

from dmtg.fit import Config, fit
from dmtg.plots import PLOTS
from mtl_core.commands import command_line

main = command_line(
    "dmtg",
    Config,
    fit,
    plots=PLOTS,
    description="Group tasks into a few networks and train these, in one run.",
    # As much time as the kit's own demos: K branches cost K times as much.
    demo={
        "rooms": {"groups": 2, "epochs": 10, "logits_lr": 0.03},
        "domains": {"groups": 2, "epochs": 5, "logits_lr": 0.03},
    },
)

if __name__ == "__main__":
    raise SystemExit(main())
