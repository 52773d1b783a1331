"""The scripts of `shared` are imported as they import each other."""

import sys
from pathlib import Path

for folder in ("studies", "benchmarks"):
    sys.path.insert(0, str(Path(__file__).parent.parent / "shared" / folder))
