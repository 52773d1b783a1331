"""How long `import adapmtl` and `adapmtl --help` take once torch is imported: processor time, each repeat a fresh process.

nox -s bench -- adapmtl
"""

import subprocess
import sys

from pairs import Figures

HELP = """
from adapmtl.__main__ import main
try:
    main(["--help"])
except SystemExit:
    pass
"""
CASES = {"import adapmtl": "import adapmtl", "adapmtl --help": HELP}
REPEATS = 7


def main() -> None:
    figures = Figures(__file__)
    for name, program in CASES.items():
        beyond = [seconds(program) for _ in range(REPEATS + 1)][1:]  # the first fills the caches
        figures.add(f"`{name}` beyond `import torch`", beyond, "s")


def seconds(program: str) -> float:
    """Processor time of a program in a process that has imported torch."""
    timed = f"import sys, time, torch\nstart = time.process_time()\n{program}\n"
    timed += "print(time.process_time() - start, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    return float(done.stderr)


if __name__ == "__main__":
    main()
