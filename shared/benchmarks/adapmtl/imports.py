"""How long `import adapmtl` and `adapmtl --help` take beyond `import torch`, each in a fresh process.

nox -s bench -- adapmtl
"""

import subprocess
import sys

from pairs import seconds, spread

TORCH = [sys.executable, "-c", "import torch"]
CASES = {
    "import adapmtl": [sys.executable, "-c", "import torch, adapmtl"],
    "adapmtl --help": [sys.executable, "-m", "adapmtl", "--help"],
}
REPEATS = 7


def main() -> None:
    for name, command in CASES.items():
        beyond = []
        for repeat in range(REPEATS + 1):
            base, whole = seconds(lambda: run(TORCH)), seconds(lambda command=command: run(command))
            if repeat:  # the first fills the caches
                beyond.append(whole - base)
        print(f"{name}, beyond import torch: {spread(beyond, ' s', 2)}", flush=True)


def run(command: list[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
