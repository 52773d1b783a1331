"""A planted truth: the same ten-class task three times, with heads of width 512, 128 and 32, held at 85 % zeros overall.

The wide head has most to spare. The line printed for each seed says whether the order was found: the wider, the sparser.

    python shared/studies/adapmtl_planted.py
"""

import torch
from rows import Rows
from torch import nn

import adapmtl
from mtl_core import MultiTaskData, Run, SharedBackbone, Task, datasets
from mtl_core.task import classification

WIDTHS = {"wide": 512, "middle": 128, "narrow": 32}
SEEDS = range(10)


def build(tasks: dict[str, Task]) -> SharedBackbone:
    backbone = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.Flatten())

    def head(channels: int, task: Task) -> nn.Module:
        width = WIDTHS[task.name]
        return nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, task.channels))

    return SharedBackbone(backbone, tasks, head, example=torch.zeros(1, 1, 8, 8))


class ThreeTimes:
    """The digits, with their label given to each of the three tasks."""

    tasks = tuple(WIDTHS)

    def __init__(self) -> None:
        self._digits = datasets.digits().train.sources[0].data

    def __len__(self) -> int:
        return len(self._digits)

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        inputs, targets = self._digits.batch(indices)
        (label,) = targets.values()
        return inputs, dict.fromkeys(WIDTHS, label)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        inputs, targets = self.batch(torch.tensor([index]))
        return inputs[0], {name: target[0] for name, target in targets.items()}


def main() -> None:
    torch.set_num_threads(1)
    rows = Rows("adapmtl", "planted", ("seed",))
    data = MultiTaskData([classification(name, 10) for name in WIDTHS], ThreeTimes())
    found_shares = []
    for seed in SEEDS:
        row = rows.find(seed=seed)
        if row is None:
            config = adapmtl.Config(sparsity=0.85, epochs=12)
            found = adapmtl.fit(build, data, config, Run(seed=seed, progress=False)).report.sparsity
            rows.add({"seed": seed, **{name: found[f"head.{name}"] for name in WIDTHS}, "overall": found["overall"]})
            row = rows.find(seed=seed)
            assert row is not None
        shares = [float(row[name]) for name in WIDTHS]
        found_shares.append(shares)
        order = "found" if shares[0] > shares[1] > shares[2] else "NOT found"
        print(
            f"seed {seed}: " + ", ".join(f"{n} {s:.3f}" for n, s in zip(WIDTHS, shares, strict=True)),
            f"  {order}",
            flush=True,
        )
    means = (sum(column) / len(found_shares) for column in zip(*found_shares, strict=True))
    print("mean: " + ", ".join(f"{n} {m:.3f}" for n, m in zip(WIDTHS, means, strict=True)))


if __name__ == "__main__":
    main()
