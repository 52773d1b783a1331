"""What an AdapMTL model takes at 80, 85 and 90 %: bytes on disk, operations, time, before and after compaction (Table 4).

ResNet-34 of a quarter's width at output stride 8, heads of 64 channels, three tasks of `rooms`, 288 steps, one seed. Time is
one thread's processor time for one image of 48×64, the dense form of the same model and the compacted one in turns.
"""

import statistics
from pathlib import Path

import torch
from pairs import compare
from paper import lines_of
from rows import Rows
from study import Study

import adapmtl
import mtl_core
from mtl_core import Run, SharedBackbone, backbones, compact, datasets, heads, measure

TASKS = ("segmentation", "depth", "normals")
SPARSITIES = (0.8, 0.85, 0.9)
TURNS = 41


def build(tasks: dict[str, mtl_core.Task]) -> SharedBackbone:
    backbone = backbones.resnet34(width=0.25, output_stride=8)
    return SharedBackbone(backbone, tasks, heads.aspp(width=64, rates=(2, 4, 6)))


def train(folder: Path, *, sparsity: float, epochs: int = 18) -> dict[str, object]:
    data, run = datasets.rooms(TASKS), Run(folder, progress=False)
    config = adapmtl.Config(sparsity=sparsity, epochs=epochs, batch_size=16)
    model = adapmtl.fit(build, data, config, run).model
    example = next(data.test.views(1)).inputs
    small = compact(model, example)
    whole, after = measure(model, example).whole, measure(small, example).whole
    with torch.no_grad():
        ratios = compare(lambda: model(example), lambda: small(example), TURNS)
    dense_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    return {
        "zeros": 1 - whole.survivors / whole.parameters,
        "parameters": whole.parameters,
        "survivors": whole.survivors,
        "dense_bytes": dense_bytes,
        "file_bytes": whole.disk,
        "flops": whole.flops,
        "nonzero_flops": whole.nonzero_flops,
        "compacted_parameters": after.parameters,
        "compacted_flops": after.flops,
        "sparse_layers": len(small.kernels.sparse),
        "faster": statistics.median(ratios),
        "faster_low": min(ratios),
        "faster_high": max(ratios),
    }


def table(rows: Rows) -> str:
    """Before and after, one line for each sparsity; then what the paper prints."""
    lines = [
        "| asked | parameters, not zero | file, dense / stored | MFLOP, with zeros / without | compacted, times faster |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: float(row["sparsity"])):
        mega = {name: float(row[name]) / 1e6 for name in ("parameters", "survivors", "flops", "nonzero_flops")}
        lines.append(
            f"| {float(row['sparsity']):.0%} | {mega['survivors']:.2f} of {mega['parameters']:.2f} M "
            f"| {float(row['dense_bytes']) / 2**20:.1f} / {float(row['file_bytes']) / 2**20:.1f} MiB "
            f"| {mega['flops']:.0f} / {mega['nonzero_flops']:.0f} "
            f"| {float(row['faster']):.2f} ({float(row['faster_low']):.2f} to {float(row['faster_high']):.2f}) |"
        )
    return "\n".join(lines)


def paper(rows: Rows) -> str:
    """Table 4's sizes and operations, misprints marked."""
    lines = ["| The paper, NYU-v2 | parameters, M | GFLOP |", "|---|---|---|"]
    found: dict[str, dict[str, str]] = {}
    for line in lines_of("adapmtl_table4"):
        wrong = f" (misprint{' for ' + line['correct'] if line['correct'] else ''})" if line["misprint"] == "1" else ""
        found.setdefault(line["row"], {})[line["column"]] = line["value"] + wrong
    for name, values in found.items():
        shown = name.replace(" / AdapMTL / ", ", ") + (" %" if "AdapMTL" in name else ", dense")
        lines.append(f"| {shown} | {values['Params']} | {values['FLOPs']} |")
    return "\n".join(lines)


STUDY = Study(
    key=("sparsity",),
    trainings=[{"sparsity": sparsity} for sparsity in SPARSITIES],
    train=train,
    seconds=400,
    tiny={"sparsity": 0.8, "epochs": 1},
    tables={"sizes": table, "paper-sizes": paper},
)
