"""Similarity of twenty networks of 11.2 M weights: all at once against a loop over pairs, and the memory beyond the networks.

    nox -s bench -- dmo

The loop is what one writes first: of each pair the two vectors of all weights, and their correlation. Memory is the largest
resident size of the process while the similarity is computed, less what it was before.
"""

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pairs import Figures, work
from torch import nn

import dmo
from mtl_core import SharedBackbone, backbones, heads
from mtl_core.sparsity import prunable_weights
from mtl_core.task import attribute

NETWORKS, PAIRS, REPEATS = 20, 10, 3


def main(networks: int = NETWORKS, pairs: int = PAIRS, repeats: int = REPEATS) -> None:
    torch.set_num_threads(1)
    figures = Figures(__file__)
    models = [build() for _ in range(networks)]
    weights = sum(w.numel() for w in prunable_weights(models[0].backbone).values())
    what = f"{networks} networks of {weights / 1e6:.1f} M weights"
    dmo.weight_similarity(models[:2])  # warm
    peaks = [peak_of(lambda: dmo.weight_similarity(models)) for _ in range(repeats)]
    figures.add(f"memory beyond the networks, {what}", [peak / 1e6 for peak in peaks], "MB", 0)
    ratios = [loop(models, pairs) / work(lambda: dmo.weight_similarity(models)) for _ in range(repeats)]
    figures.add(f"loop over pairs / all at once, {what}", ratios, digits=1)


def build() -> SharedBackbone:
    return SharedBackbone(backbones.resnet18(), [attribute("task")], heads.linear())


def loop(models: list[SharedBackbone], pairs: int) -> float:
    """Time of the plain loop, from some of its pairs."""
    every = list(itertools.combinations(models, 2))
    step = max(1, len(every) // pairs)
    some = every[::step]
    return work(lambda: [correlation(one, other) for one, other in some]) * len(every) / len(some)


def correlation(one: nn.Module, other: nn.Module) -> torch.Tensor:
    vectors = [torch.cat([w.detach().flatten() for w in prunable_weights(m.backbone).values()]) for m in (one, other)]
    return torch.corrcoef(torch.stack(vectors))[0, 1]


def resident() -> int:
    """Bytes that this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak_of(function: Callable[[], object]) -> int:
    """The largest resident size while a function runs, less that before it."""
    before = largest = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.is_set():
            largest = max(largest, resident())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    return largest - before


if __name__ == "__main__":
    main()
