"""AdapMTL at 50, 80, 90 and 95 %: the sparsity reached, and Δ against the dense model trained as long (Figure 4).

Three tasks of `rooms`, two backbones narrowed to a quarter or less, output stride 8, three seeds; every model is trained for
the same number of steps, and every model's batch norms are estimated anew at the end, the dense one's too. MobileNetV2 starts
with all convolutions at one scale (`adapmtl.start_alike`); with its usual start the shared threshold empties it.

A training that `shared/results/adapmtl/sparsity.csv` holds is not done again; a killed one resumes. These are small runs: they
show whether the asked sparsity is met and what it costs here, not what NYU-v2 gives.

    python shared/studies/adapmtl_sparsity.py            train what is missing, print the table
    python shared/studies/adapmtl_sparsity.py ResNet 0   train what is missing of backbones with that in their name, seed 0
    python shared/studies/adapmtl_sparsity.py --table    print the table of the rows that are there
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rows import Rows, mean_and_deviation

import adapmtl
import mtl_core
from mtl_core import MultiTaskData, Run, SharedBackbone, backbones, datasets, heads

SPARSITIES = (0.5, 0.8, 0.9, 0.95)
SEEDS = (0, 1, 2)
BACKBONES = {
    "ResNet-34 x 1/8": lambda: backbones.resnet34(width=0.125, output_stride=8),
    "MobileNetV2 x 1/4": lambda: backbones.mobilenet_v2(width=0.25, output_stride=8),
}
EPOCHS, BATCH = 18, 16
"""18 passes of 16 steps."""

KEY = ("method", "backbone", "sparsity", "seed")
TASKS = ("segmentation", "depth", "normals")
WORK = Path(os.environ.get("MTL_RUNS", Path(tempfile.gettempdir()) / "adapmtl-sparsity"))


def build_with(backbone: str) -> mtl_core.Build:
    def build(tasks: dict[str, mtl_core.Task]) -> SharedBackbone:
        model = SharedBackbone(BACKBONES[backbone](), tasks, heads.aspp(width=32, rates=(2, 4, 6)))
        return adapmtl.start_alike(model) if backbone.startswith("MobileNet") else model

    return build


def train(data: MultiTaskData, method: str, backbone: str, sparsity: float, seed: int) -> dict[str, object]:
    name = f"{method}-{backbone}-{sparsity}-{seed}".replace(" ", "").replace("/", "_")
    run = Run(WORK / name, seed=seed, progress=False)
    if method == "dense":
        config = mtl_core.Config(epochs=EPOCHS, batch_size=BATCH)
        model = mtl_core.fit(build_with(backbone), data, config, run).model.train()
        mtl_core.estimate_norms(model, data.train, batch_size=BATCH, seed=seed)
    else:
        config = adapmtl.Config(sparsity=sparsity, epochs=EPOCHS, batch_size=BATCH)
        model = adapmtl.fit(build_with(backbone), data, config, run).model
    found = mtl_core.evaluate(model, data.test)
    figures = {f"{task}.{metric}": value for task, metrics in found.items() for metric, value in metrics.items()}
    shares = {f"zeros.{component}": share for component, share in adapmtl.sparsity(model).items()}
    return {**figures, **shares}


def main() -> None:
    torch.set_num_threads(1)
    rows = Rows("adapmtl", "sparsity", KEY)
    jobs = [("dense", b, 0.0, s) for b in BACKBONES for s in SEEDS]
    jobs += [("adapmtl", b, p, s) for s in SEEDS for b in BACKBONES for p in SPARSITIES]
    backbone, seed = [*sys.argv[1:], "", ""][:2]
    jobs = [job for job in jobs if backbone in job[1] and seed in str(job[3])]
    missing = [job for job in jobs if rows.find(**dict(zip(KEY, job, strict=True))) is None]
    if "--table" not in sys.argv:
        print(f"{len(missing)} of {len(jobs)} trainings to do", flush=True)
        data = datasets.rooms(TASKS)
        for job in missing:
            start = time.monotonic()
            found = train(data, *job)
            rows.add({**dict(zip(KEY, job, strict=True)), **found, **machine()})
            print(*job, f"zeros {found['zeros.overall']:.4f}, {time.monotonic() - start:.0f} s", flush=True)
    print(table(rows, {task: datasets.rooms(TASKS).tasks[task] for task in TASKS}))


def machine() -> dict[str, object]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "device": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
    }


def figures_of(row: dict[str, str], tasks: dict[str, mtl_core.Task]) -> dict[str, dict[str, float]]:
    """The metrics of a row by task, as `mtl_core.evaluate` gave them."""
    found = {
        task: {k.partition(".")[2]: float(v) for k, v in row.items() if k.startswith(f"{task}.") and v}
        for task in tasks
    }
    return {task: metrics for task, metrics in found.items() if metrics}


def table(rows: Rows, tasks: dict[str, mtl_core.Task]) -> str:
    """Markdown: asked, reached (smallest to largest of the seeds), mIoU, depth, normals, Δ against dense."""
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
            deltas = [mtl_core.delta(figures_of(m, tasks), figures_of(d, tasks), tasks).overall for m, d in done]
            columns = [("segmentation.mIoU", 3), ("depth.absolute_error", 3), ("normals.mean_angle", 1)]
            cells = [mean_and_deviation([float(m[column]) for m, _ in done], digits) for column, digits in columns]
            asked = f"{sparsity:.0%}" if sparsity else "dense"
            reached = f"{min(zeros):.2f} to {max(zeros):.2f}" if sparsity else ""
            lines.append(
                f"| {backbone} | {asked} | {reached} | {' | '.join(cells)} | "
                f"{mean_and_deviation(deltas) if sparsity else '0'} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
