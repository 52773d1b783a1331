"""LOMT beside single-task and multi-task learning on `rooms` (Tables 2, 4 and 5, Figures 2 and 3).

Five methods with one and the same optimizer setting: each task alone, dense and under group sparsity; all tasks together, dense
and under group sparsity; LOMT. The four maps together with three seeds; their triples, and segmentation with four attributes,
with one. LOMT's layers are those that the sparse single-task networks of the same seed have left, which are trained once.

These are small runs: they show whether the pieces do what they should here, not what NYU-v2 gives.
"""

import base64
import io
import json
import warnings
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pairs import compare
from rows import Rows, mean_and_deviation
from study import Study
from torch import Tensor, nn

import lomt
import mtl_core
from lomt import plots
from mtl_core import MultiTaskData, Run, SharedBackbone, backbones, datasets, heads, weighting
from mtl_core.comparison import take_samples
from mtl_core.plots import canvas
from mtl_core.predictions import predictions

MAPS = ("segmentation", "depth", "normals", "edges")
ATTRIBUTES = ("has_bed", "has_window", "has_picture", "large_room")
FOUR, WITH_ATTRIBUTES = " ".join(MAPS), " ".join(("segmentation", *ATTRIBUTES))
TRIPLES = [" ".join(three) for three in combinations(MAPS, 3)]
SEEDS = (0, 1, 2)
METHODS = ("single", "sparse single", "multi", "sparse multi", "lomt")
NAMES = ("single-task, dense", "single-task, sparse", "multi-task, dense", "multi-task, sparse", "LOMT")
LAMBDA, LR, EPOCHS, BATCH = 0.005, 1e-3, 38, 16
"""38 passes of 16 steps: 608 steps."""

PICTURED = 3
"""Test images in the pictures."""

KEY = ("method", "tasks", "seed")
SHOWN = {
    "segmentation": ("mIoU", 3),
    "depth": ("absolute_error", 3),
    "normals": ("mean_angle", 1),
    "edges": ("f_measure", 3),
}
SHOWN |= dict.fromkeys(ATTRIBUTES, ("accuracy", 3))


def build(tasks: dict[str, mtl_core.Task]) -> SharedBackbone:
    head = heads.by_kind(dense=heads.aspp(width=64, rates=(1, 2, 3)), other=heads.linear())
    backbone = backbones.resnet18(width=0.25, output_stride=8)
    return SharedBackbone(backbone, tasks, head, example=torch.zeros(1, 3, 48, 64))


def train(folder: Path, *, method: str, tasks: str, seed: int, epochs: int = EPOCHS) -> dict[str, object]:
    names, run = tasks.split(), Run(folder, seed=seed, progress=False)
    data = datasets.rooms(names)
    config = lomt.Config(lambda_=LAMBDA, lr=LR, epochs=epochs, batch_size=BATCH)
    found: dict[str, object] = {}
    if method == "sparse single":
        result = sparse_networks(data, config, run)
        model, (task,) = result.model.groups[names[0]], names
        found |= {"zeros": result.report.sparsity[task]["zero weights"], "layer": result.report.layers[task]}
        found["pattern"] = json.dumps({k: round(v, 3) for k, v in result.report.sparsity[task]["pattern"].items()})
    elif method == "lomt":
        model = lomt.fit_attached(build, data, layers_of(data, config, run), config, run).model
    else:
        model = plainly(data, config, run, sparse=method == "sparse multi")
        found |= {"zeros": lomt.zeros(model)["weights"]} if method == "sparse multi" else {}
    figures = {f"{t}.{m}": v for t, metrics in mtl_core.evaluate(model, data.test).items() for m, v in metrics.items()}
    found |= figures | {"parameters": sum(p.numel() for p in model.backbone.parameters())}
    if method == "lomt":
        found["latency"] = latency(model, build(data.tasks))
    if seed == 0 and tasks in (*MAPS, FOUR, WITH_ATTRIBUTES):
        found["samples"] = packed(model, data)
    return found


def plainly(data: MultiTaskData, config: lomt.Config, run: Run, *, sparse: bool) -> nn.Module:
    """Core's own training, with group sparsity round its optimizer if asked for."""
    models: list[SharedBackbone] = []

    def remembered(tasks: dict[str, mtl_core.Task]) -> SharedBackbone:
        models.append(build(tasks))
        return models[-1]

    def optimizer(parameters: Any, **options: Any) -> Any:
        inner = config.optimizer(parameters, **options)
        return lomt.GroupLasso(inner, convolutions(models[-1]), LAMBDA) if sparse else inner

    plain = mtl_core.Config(
        epochs=config.epochs, batch_size=BATCH, lr=LR, weight_decay=config.weight_decay, optimizer=optimizer
    )
    weigh = weighting.Uncertainty if len(data.tasks) > 1 else None
    model = mtl_core.fit(remembered, data, plain, run, weigh=weigh).model.train()
    mtl_core.estimate_norms(model, data.train, batch_size=BATCH, seed=run.seed)  # as LOMT does at its end
    return model.eval()


def convolutions(model: SharedBackbone) -> list[nn.Module]:
    return [module for module in model.backbone.modules() if isinstance(module, nn.Conv2d)]


def layers_of(data: MultiTaskData, config: lomt.Config, run: Run) -> Mapping[str, str]:
    """The layers that phase 1 has found: from its rows, or, where one is missing, trained here with the same outcome."""
    rows = Rows("lomt", "rooms", KEY)
    known = {task: rows.find(method="sparse single", tasks=task, seed=run.seed) for task in data.tasks}
    if config.epochs == EPOCHS and all(known.values()):
        return {task: row["layer"] for task, row in known.items() if row}
    layers: Mapping[str, str] = sparse_networks(data, config, run.child("sparse")).report.layers
    return layers


def sparse_networks(data: MultiTaskData, config: lomt.Config, run: Run) -> mtl_core.Result:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Task `")  # of gaps before the last layer: the patterns show them
        return lomt.fit_sparse(build, data, config, run)


def latency(model: nn.Module, whole: nn.Module) -> float:
    """Time of a forward pass of one image against the whole network's."""
    image = torch.rand(1, 3, 48, 64)
    with torch.inference_mode():
        return float(np.median(compare(lambda: model(image), lambda: whole.eval()(image), repeats=31)))


# Pictures: what is shown of a model is kept in its row, a byte a value ------------------------------------------------


def packed(model: SharedBackbone, data: MultiTaskData) -> str:
    """Predictions and class-activation maps of a few test images as text."""
    samples = take_samples({"m": model}, data.test, PICTURED)
    arrays = {}
    for name, values in samples.items():
        if name.startswith("prediction/"):
            task = name.rpartition("/")[2]
            arrays[f"p.{task}"] = to_bytes(task, values)
    for task in data.tasks:
        arrays[f"c.{task}"] = (255 * lomt.grad_cam(model, samples["input/0"], task)).byte().numpy()
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return base64.b64encode(file.getvalue()).decode()


SCALES = {"depth": (0.0, 12.0), "normals": (-1.0, 1.0)}
"""Ends of a byte's scale; else 0 and 1. Classes are kept as they are."""


def to_bytes(task: str, values: Tensor) -> np.ndarray:
    if not values.is_floating_point():
        return values.to(torch.uint8).numpy()
    low, high = SCALES.get(task, (0.0, 1.0))
    return (255 * (values - low) / (high - low)).round().clamp(0, 255).byte().numpy()


def of_bytes(task: str, values: np.ndarray) -> Tensor:
    if task == "segmentation":
        return torch.from_numpy(values)
    low, high = SCALES.get(task, (0.0, 1.0))
    return torch.from_numpy(values).float() / 255 * (high - low) + low


def unpacked(row: Mapping[str, str]) -> Mapping[str, np.ndarray]:
    with np.load(io.BytesIO(base64.b64decode(row["samples"]))) as file:
        return dict(file)


def pictured(rows: Rows, method: str, tasks: str) -> Mapping[str, np.ndarray]:
    row = rows.find(method=method, tasks=tasks, seed=0)
    return unpacked(row) if row and row.get("samples") else {}


def predictions_of(task: str) -> Any:
    """A picture of one task: every method's prediction beside the truth (Table 4)."""

    def make(rows: Rows) -> Any:
        data = datasets.rooms((task,))
        samples = take_samples({}, data.test, PICTURED)
        for method, name in zip(METHODS, NAMES, strict=True):
            maps = pictured(rows, method, task if "single" in method else FOUR)
            if f"p.{task}" in maps:
                short = name.replace("single-task", "single").replace("multi-task", "multi")
                samples[f"prediction/0/{short}/{task}"] = of_bytes(task, maps[f"p.{task}"])
        facts = {t.name: [t.channels, t.dense, t.weight, t.kind] for t in data.tasks.values()}
        return predictions(samples, {"tasks": facts})[f"predictions_{task}"]

    return make


def maps_of(tasks: str, shown: str) -> Any:
    """A picture of class-activation maps of one task: dense multi-task beside LOMT (Figure 3)."""

    def make(rows: Rows) -> Any:
        images = take_samples({}, datasets.rooms((shown,)).test, PICTURED)["input/0"]
        kept = {
            name: pictured(rows, method, tasks) for method, name in (("multi", "multi-task, dense"), ("lomt", "LOMT"))
        }
        maps = {name: torch.from_numpy(found[f"c.{shown}"]).float() / 255 for name, found in kept.items() if found}
        return plots.activation_maps(images, maps)

    return make


def patterns_of(tasks: str) -> Any:
    """A picture of the sparsity patterns of a set of tasks (Figure 2)."""

    def make(rows: Rows) -> Any:
        mine = {task: rows.find(method="sparse single", tasks=task, seed=0) for task in tasks.split()}
        patterns = {task: json.loads(row["pattern"]) for task, row in mine.items() if row}
        layers = {task: row["layer"] for task, row in mine.items() if row}
        return plots.pattern_figure(patterns, layers) if patterns else canvas()[0]

    return make


# Tables ---------------------------------------------------------------------------------------------------------------


def cells(rows: Rows, method: str, tasks: str) -> dict[str, list[dict[str, str]]]:
    """The rows that a line of the table shows, by task: a single task's are its own."""
    names = tasks.split()
    found = {t: rows.where(method=method, tasks=t if "single" in method else tasks) for t in names}
    seeds = SEEDS if tasks == FOUR else SEEDS[:1]
    return {t: [row for row in several if int(row["seed"]) in seeds] for t, several in found.items()}


def lines(rows: Rows, tasks: str) -> list[str]:
    """A line for each method: the metric of each task, parameters of the backbone, latency against the whole network."""
    made = []
    for method, name in zip(METHODS, NAMES, strict=True):
        found = cells(rows, method, tasks)
        if not all(found.values()):
            continue
        line = []
        for task, several in found.items():
            metric, digits = SHOWN[task]
            cell = mean_and_deviation([float(row[f"{task}.{metric}"]) for row in several], digits)
            if method == "sparse single":
                cell += f" ({100 * sum(float(row['zeros']) for row in several) / len(several):.0f} % zero)"
            line.append(cell)
        first = next(iter(found.values()))
        whole = method == "single" or method == "sparse single"
        sizes = [float(row["parameters"]) / 1e3 * (len(found) if whole else 1) for row in first]
        fast = mean_and_deviation([float(row["latency"]) for row in first], 2) if method == "lomt" else ""
        made.append(f"| {name} | {' | '.join(line)} | {mean_and_deviation(sizes, 0)} | {fast} |")
    return made


def table_of(*sets: str) -> Any:
    """Tables of several sets of tasks, one under the other."""

    def make(rows: Rows) -> str:
        parts = []
        for tasks in sets:
            shown = [f"{task.replace('_', ' ')}: {SHOWN[task][0].replace('_', ' ')}" for task in tasks.split()]
            header = f"| | {' | '.join(shown)} | backbone, thousand parameters | latency / whole |"
            parts.append("\n".join([header, "|---" * (len(shown) + 3) + "|", *lines(rows, tasks)]))
        return "\n\n".join(parts)

    return make


def layer_table(rows: Rows) -> str:
    """The layer that each task's sparse network has left, by seed."""
    made = ["| task | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " |", "|---" * (len(SEEDS) + 1) + "|"]
    for task in (*MAPS, *ATTRIBUTES):
        found = [rows.find(method="sparse single", tasks=task, seed=seed) for seed in SEEDS]
        if any(found):
            made.append(f"| {task.replace('_', ' ')} | {' | '.join(row['layer'] if row else '' for row in found)} |")
    return "\n".join(made)


SINGLE = [(task, seed) for seed in SEEDS for task in MAPS] + [(task, 0) for task in ATTRIBUTES]
JOINT = [(FOUR, seed) for seed in SEEDS] + [(tasks, 0) for tasks in (*TRIPLES, WITH_ATTRIBUTES)]
STUDY = Study(
    key=KEY,
    trainings=[
        *({"method": m, "tasks": t, "seed": s} for m in METHODS[:2] for t, s in SINGLE),
        *({"method": m, "tasks": t, "seed": s} for m in METHODS[2:] for t, s in JOINT),
    ],
    train=train,
    seconds=100,
    tiny={"method": "lomt", "tasks": "depth edges", "seed": 0, "epochs": 1},
    tables={
        "rooms": table_of(FOUR),
        "triples": table_of(*TRIPLES),
        "attributes": table_of(WITH_ATTRIBUTES),
        "layers": layer_table,
    },
    pictures={
        "pattern_maps": patterns_of(FOUR),
        "pattern_attributes": patterns_of(WITH_ATTRIBUTES),
        **{f"predictions_{task}": predictions_of(task) for task in MAPS},
        "activation_segmentation": maps_of(FOUR, "segmentation"),
        "activation_has_bed": maps_of(WITH_ATTRIBUTES, "has_bed"),
    },
)
