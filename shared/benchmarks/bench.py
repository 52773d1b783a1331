"""Run the benchmarks of one package, or of all, and make the READMEs' tables of their figures.

nox -s bench                    all packages
nox -s bench -- adapmtl         one package
nox -s bench -- adapmtl step    one benchmark
"""

import subprocess
import sys
from pathlib import Path

from pairs import table
from readme import Tables, write
from rows import RESULTS, Rows

HERE = Path(__file__).parent


def tables_of(package: str) -> Tables:
    """What makes the tables of a package's benchmarks."""
    names = [path.stem for path in (RESULTS / package).glob("bench-*.csv")]
    rows = {name.removeprefix("bench-"): Rows(package, name, ("what",)) for name in names}
    return {("bench", name): lambda found=found: table(found) for name, found in rows.items()}  # type: ignore[misc]


def main() -> None:
    """Do what the command line asks for."""
    package, name = [*sys.argv[1:], "*", "*"][:2]
    scripts = sorted(HERE.glob(f"{package}/{name}.py"))
    if not scripts:
        sys.exit(
            f"no benchmark `{package} {name}`; there are {sorted(str(p.relative_to(HERE)) for p in HERE.glob('*/*.py'))}"
        )
    for script in scripts:
        subprocess.run([sys.executable, str(script)], check=True)
        write(script.parent.name, tables_of(script.parent.name))


if __name__ == "__main__":
    main()
