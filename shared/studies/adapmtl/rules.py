"""What decides: the paper's ablation (Table 5), gradual magnitude pruning beside it, and our two choices at three values.

ResNet-10 of a quarter's width at output stride 8, heads of 64 channels, three tasks of `rooms`, 608 steps. Gradual magnitude
pruning is what one would use otherwise: one hard threshold for all weights on the same schedule, plain sum of the losses.
"""

from pathlib import Path
from typing import Any

from paper import printed
from pruned import THREE, Pair, adaptive, build, dense, gain, gain_cell, magnitude, pairs, zeros_cells
from rows import Rows, mean_and_deviation
from study import Study

import adapmtl
from mtl_core import datasets

SEEDS = (0, 1, 2)
FIVE_SEEDS = (*SEEDS, 3, 4)
"""Of what the study `candidates` is compared with."""
EPOCHS = 38
RULES: dict[str, dict[str, Any]] = {
    "AdapMTL": {},
    "two thresholds": {"groups": adapmtl.backbone_and_heads},
    "one threshold": {"groups": adapmtl.one_for_all},
    "no window": {"window": 1},
    "no lambda": {"lambda_": 1.0},
    "reach 0.4": {"reach": 0.4},
    "reach 0.85": {"reach": 0.85},
    "theta_lr 0.001": {"theta_lr": 0.001},
    "theta_lr 0.015": {"theta_lr": 0.015},
}
"""What a rule changes in AdapMTL's configuration."""

COMPONENTS = ("backbone", *(f"head.{task}" for task in THREE))


def train(folder: Path, *, rule: str, sparsity: float, seed: int, epochs: int = EPOCHS) -> dict[str, Any]:
    data, same = datasets.rooms(THREE), {"seed": seed, "epochs": epochs}
    if rule == "dense":
        return dense(folder, build, data, **same).found
    if rule == "magnitude":
        return magnitude(folder, build, data, sparsity=sparsity, **same).found
    found = adaptive(folder, build, data, sparsity=sparsity, **same, **RULES[rule]).found
    del found["curves"]
    return found


DENSE = {"rule": "dense", "sparsity": 0.0}
PAPER = {
    "AdapMTL": "AdapMTL",
    "two thresholds": "only 2 adaptive thresholds",
    "one threshold": "w/o adaptive thresholds",
    "no window": "w/o sliding window",
    "no lambda": "w/o λ (=5)",
}
WORDS = {
    "AdapMTL": "AdapMTL: a threshold for each component",
    "two thresholds": "two thresholds: backbone, heads",
    "one threshold": "one threshold",
    "no window": "AdapMTL, `window=1`",
    "no lambda": "AdapMTL, `lambda_=1`",
    "magnitude": "gradual magnitude pruning",
}


def ablation(rows: Rows) -> str:
    """Table 5: Δ by task and in all, the paper's beside it."""
    lines = ["| 90 % | Δ segmentation | Δ depth | Δ normals | Δ | the paper's Δ |", "|---" * 6 + "|"]
    for rule, name in PAPER.items():
        if found := rows_of(rows, rule, 0.9):
            by_task = [gain(mine, other).tasks for mine, other in found]
            cells = [mean_and_deviation([gains[task] for gains in by_task]) for task in THREE]
            cells += [gain_cell(found), printed("adapmtl_table5", name, "Δ_T")]
            lines.append(f"| {WORDS[rule]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ablation_zeros(rows: Rows) -> str:
    """Zeros and u of each component in the rows of Table 5."""
    lines = ["| zeros at 90 %, % (u) | backbone | segmentation | depth | normals |", "|---" * 5 + "|"]
    for rule in PAPER:
        if found := rows_of(rows, rule, 0.9):
            lines.append(f"| {WORDS[rule]} | {' | '.join(zeros_cells(found, COMPONENTS))} |")
    return "\n".join(lines)


def rows_of(rows: Rows, rule: str, sparsity: float, seeds: tuple[int, ...] = SEEDS) -> list[Pair]:
    """Rows of a rule, each beside the dense one of its seed."""
    return pairs(rows, seeds, lambda seed: {"rule": rule, "sparsity": sparsity}, DENSE)


def rivals(rows: Rows) -> str:
    """Δ of the three rules at 80, 90 and 95 %, and what becomes of the normals' head at 95 %."""
    lines = [
        "| Δ, % | 80 % | 90 % | 95 % | 95 %, normals alone | zeros in their head, % (u) |",
        "|---" * 6 + "|",
    ]
    for rule in ("AdapMTL", "one threshold", "magnitude"):
        cells = [gain_cell(rows_of(rows, rule, p)) for p in (0.8, 0.9, 0.95)]
        if found := rows_of(rows, rule, 0.95):
            cells.append(mean_and_deviation([gain(mine, other).tasks["normals"] for mine, other in found]))
            cells += zeros_cells(found, ["head.normals"])
        lines.append(f"| {WORDS[rule]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def choices(rows: Rows) -> str:
    """Δ over `reach` and `theta_lr`, one seed."""
    lines = ["| Δ, % | 90 % | 95 % | zeros in the normals' head at 90 %, % (u) |", "|---|---|---|---|"]
    named = {"`reach=0.7`, `theta_lr=0.004` (the defaults)": "AdapMTL", "`theta_lr=0`": "one threshold"}
    named |= {f"`{rule.replace(' ', '=')}`": rule for rule in RULES if rule.startswith(("reach", "theta"))}
    for words, rule in named.items():
        at_90, at_95 = (rows_of(rows, rule, p, SEEDS[:1]) for p in (0.9, 0.95))
        cells = [gain_cell(at_90), gain_cell(at_95), *zeros_cells(at_90, ["head.normals"])]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


STUDY = Study(
    key=("rule", "sparsity", "seed"),
    trainings=[
        *({**DENSE, "seed": seed} for seed in SEEDS),
        *(
            {"rule": rule, "sparsity": sparsity, "seed": seed}
            for seed in SEEDS
            for rule in ("AdapMTL", "one threshold", "magnitude")
            for sparsity in (0.8, 0.9, 0.95)
        ),
        *(
            {"rule": rule, "sparsity": 0.9, "seed": seed}
            for seed in SEEDS
            for rule in ("two thresholds", "no window", "no lambda")
        ),
        *(
            {"rule": rule, "sparsity": sparsity, "seed": 0}
            for rule in RULES
            if rule.startswith(("reach", "theta"))
            for sparsity in (0.9, 0.95)
        ),
        *({**DENSE, "seed": seed} for seed in FIVE_SEEDS[3:]),
        *(
            {"rule": rule, "sparsity": sparsity, "seed": seed}
            for seed in FIVE_SEEDS[3:]
            for rule in ("AdapMTL", "one threshold")
            for sparsity in (0.9, 0.95)
        ),
    ],
    train=train,
    seconds=65,
    tiny={"rule": "magnitude", "sparsity": 0.9, "seed": 0, "epochs": 1},
    tables={"ablation": ablation, "ablation-zeros": ablation_zeros, "rivals": rivals, "choices": choices},
)
