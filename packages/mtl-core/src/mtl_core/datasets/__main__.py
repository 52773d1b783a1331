"""`python -m mtl_core.datasets check ROOT --layout NAME`: what a folder holds, and a contact sheet of it.

Exit status: 0 all is there, 1 something is missing or damaged, 2 a wrong option.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mtl_core.datasets.checking import check, layouts
from mtl_core.datasets.sheet import sheet


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for.

    Args:
        arguments: Default those of the process.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m mtl_core.datasets", description="Look through a data set's folder."
    )
    options = parser.add_subparsers(required=True).add_parser(
        "check", help="what is there, what is missing, a contact sheet"
    )
    options.add_argument("root", type=Path, help="the folder")
    options.add_argument(
        "--layout", required=True, choices=sorted(layouts()), metavar="NAME", help=", ".join(sorted(layouts()))
    )
    options.add_argument("--decode", type=int, default=50, help="samples of each part that are decoded (default 50)")
    options.add_argument("--show", type=int, default=4, help="samples of each part on the contact sheet (default 4)")
    options.add_argument("--sheet", type=Path, help="the picture (default NAME.png in the current folder)")
    asked = parser.parse_args(arguments)
    parts = check(asked.root, asked.layout, decode=asked.decode, show=asked.show)
    for part in parts:
        print("\n".join(part.lines()))
    shown = [sample for part in parts for sample in part.shown]
    if shown:
        path = asked.sheet or Path(f"{asked.layout}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet(shown).save(path)
        print(f"Contact sheet: {path}")
    return 1 if any(part.problems for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
