"""The command `dmtg`: `demo`, `fit`, `report`, `measure` and `export`."""

from collections.abc import Sequence

from dmtg.fit import Config, fit
from dmtg.plots import PLOTS
from mtl_core.commands import command_line


def stages(config: Config, tasks: Sequence[str]) -> dict[str, tuple[int, float]]:
    """K branches with all heads, then what is left of them."""
    found: dict[str, tuple[int, float]] = {"search": (config.epochs, config.groups)}
    return found | ({"fine-tuning": (config.finetune_epochs, config.groups)} if config.finetune_epochs else {})


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
    stages=stages,
)

if __name__ == "__main__":
    raise SystemExit(main())
