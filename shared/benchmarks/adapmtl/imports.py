"""How long `import adapmtl` and `adapmtl --help` take beyond `import torch`: processor time of fresh processes.

nox -s bench -- adapmtl
"""

import os
import subprocess
import sys

from pairs import Figures

TORCH = [sys.executable, "-c", "import torch"]
CASES = {
    "import adapmtl": [sys.executable, "-c", "import torch, adapmtl"],
    "adapmtl --help": [sys.executable, "-m", "adapmtl", "--help"],
}
REPEATS = 7


def main() -> None:
    figures = Figures(__file__)
    for name, command in CASES.items():
        beyond = []
        for repeat in range(REPEATS + 1):
            base, whole = run(TORCH), run(command)
            if repeat:  # the first fills the caches
                beyond.append(whole - base)
        figures.add(f"`{name}` beyond `import torch`", beyond, "s")


def run(command: list[str]) -> float:
    """Processor time of a command."""
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
