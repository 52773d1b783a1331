"""Grouping under a hundred values of PYTHONHASHSEED, each in a process of its own: one outcome, ties included."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rows import Rows
from study import Study

PROGRAM = """
import random
from importlib.util import module_from_spec, spec_from_file_location
specification = spec_from_file_location("grouping", {path!r})
grouping = module_from_spec(specification)  # alone: the package would import torch a hundred times
specification.loader.exec_module(grouping)
for seed in range(20):
    draw = random.Random(seed)
    tasks = draw.randint(2, 12)
    S = [[1.0] * tasks for _ in range(tasks)]
    for i in range(tasks):
        for j in range(i):
            S[i][j] = S[j][i] = draw.choice([0.2, 0.6, 0.6, 0.9])
    print(grouping.group_tasks(S, 0.5), grouping.group_tasks(S, 0.5, 0.7))
print(grouping.group_tasks([[1, .9, .1], [.9, 1, .9], [.1, .9, 1]], 0.5))
"""


def train(folder: Path, *, values: int) -> dict[str, Any]:
    import dmo

    path = str(Path(dmo.__file__).with_name("grouping.py"))
    said = set()
    for value in range(values):
        environment = {**os.environ, "PYTHONHASHSEED": str(value)}
        command = [sys.executable, "-c", PROGRAM.format(path=path)]
        said.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    return {"outcomes": len(said)}


def table(rows: Rows) -> str:
    """How many different outcomes there were."""
    lines = ["| values of PYTHONHASHSEED | different outcomes of 41 groupings |", "|---|---|"]
    return "\n".join([*lines, *(f"| {row['values']} | {row['outcomes']} |" for row in rows)])


STUDY = Study(
    key=("values",),
    trainings=[{"values": 100}],
    train=train,
    seconds=60,
    tiny={"values": 2},
    tables={"hashing": table},
)
