"""AdapMTL at 50, 80, 90 and 95 %: the sparsity reached, and Δ against the dense model trained as long (Figure 4).

Three tasks of `rooms`, two backbones narrowed to a quarter or less, output stride 8, three seeds; every model is trained for
the same number of steps, and every model's batch norms are estimated anew at the end, the dense one's too. MobileNetV2 starts
with all convolutions at one scale (`adapmtl.start_alike`); with its usual start the shared threshold empties it.

These are small runs: they show whether the asked sparsity is met and what it costs here, not what NYU-v2 gives.
"""

from pathlib import Path

from paper import lines_of
from pruned import figures, figures_of
from rows import Rows, mean_and_deviation
from study import Study

import adapmtl
import mtl_core
from mtl_core import Run, SharedBackbone, backbones, datasets, heads

SPARSITIES = (0.5, 0.8, 0.9, 0.95)
SEEDS = (0, 1, 2)
BACKBONES = {
    "ResNet-34 x 1/8": lambda: backbones.resnet34(width=0.125, output_stride=8),
    "MobileNetV2 x 1/4": lambda: backbones.mobilenet_v2(width=0.25, output_stride=8),
}
EPOCHS, BATCH = 18, 16
"""18 passes of 16 steps."""

TASKS = ("segmentation", "depth", "normals")


def build_with(backbone: str) -> mtl_core.Build:
    def build(tasks: dict[str, mtl_core.Task]) -> SharedBackbone:
        model = SharedBackbone(BACKBONES[backbone](), tasks, heads.aspp(width=32, rates=(2, 4, 6)))
        return adapmtl.start_alike(model) if backbone.startswith("MobileNet") else model

    return build


def train(
    folder: Path, *, method: str, backbone: str, sparsity: float, seed: int, epochs: int = EPOCHS
) -> dict[str, float]:
    data, run = datasets.rooms(TASKS), Run(folder, seed=seed, progress=False)
    if method == "dense":
        config = mtl_core.Config(epochs=epochs, batch_size=BATCH)
        model = mtl_core.fit(build_with(backbone), data, config, run).model.train()
        mtl_core.estimate_norms(model, data.train, batch_size=BATCH, seed=seed)
    else:
        pruning = adapmtl.Config(sparsity=sparsity, epochs=epochs, batch_size=BATCH)
        model = adapmtl.fit(build_with(backbone), data, pruning, run).model
    return figures(model, data)


def table(rows: Rows) -> str:
    """Asked, reached (smallest to largest of the seeds), mIoU, depth, normals, Δ against dense."""
    tasks = datasets.rooms(TASKS).tasks
    lines = [
        "| Backbone | asked | reached | mIoU | depth error, m | mean angle, ° | Δ, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for backbone in BACKBONES:
        for sparsity in (0.0, *SPARSITIES):
            method = "adapmtl" if sparsity else "dense"
            mine = [rows.find(method=method, backbone=backbone, sparsity=sparsity, seed=s) for s in SEEDS]
            dense = [rows.find(method="dense", backbone=backbone, sparsity=0.0, seed=s) for s in SEEDS]
            done = [(m, d) for m, d in zip(mine, dense, strict=True) if m and d]
            if not done:
                continue
            zeros = [100 * float(m["zeros.overall"]) for m, _ in done]
            deltas = [mtl_core.delta(figures_of(m), figures_of(d), tasks).overall for m, d in done]
            columns = [("segmentation.mIoU", 3), ("depth.absolute_error", 3), ("normals.mean_angle", 1)]
            cells = [mean_and_deviation([float(m[column]) for m, _ in done], digits) for column, digits in columns]
            asked = f"{sparsity:.0%}" if sparsity else "dense"
            reached = f"{min(zeros):.2f} to {max(zeros):.2f}" if sparsity else ""
            lines.append(
                f"| {backbone} | {asked} | {reached} | {' | '.join(cells)} | "
                f"{mean_and_deviation(deltas) if sparsity else '0'} |"
            )
    return "\n".join(lines)


def paper(rows: Rows) -> str:
    """What the paper prints of the same kind (Table 4)."""
    wanted = [line for line in lines_of("adapmtl_table4") if line["column"] in ("Sparsity", "Δ_T")]
    lines = ["| The paper, NYU-v2 | sparsity, % | Δ, % |", "|---|---|---|"]
    for sparsity, delta in zip(wanted[::2], wanted[1::2], strict=True):
        assert sparsity["row"] == delta["row"]
        lines.append(f"| {sparsity['row'].partition(' / ')[0]} | {sparsity['value']} | {delta['value']} |")
    return "\n".join(lines)


DENSE = [{"method": "dense", "backbone": b, "sparsity": 0.0, "seed": s} for b in BACKBONES for s in SEEDS]
PRUNED = [
    {"method": "adapmtl", "backbone": b, "sparsity": p, "seed": s} for s in SEEDS for b in BACKBONES for p in SPARSITIES
]
STUDY = Study(
    key=("method", "backbone", "sparsity", "seed"),
    trainings=[*DENSE, *PRUNED],
    train=train,
    seconds=200,
    tiny={"method": "adapmtl", "backbone": "MobileNetV2 x 1/4", "sparsity": 0.5, "seed": 0, "epochs": 1},
    tables={"sparsity": table, "paper": paper},
)
