"""Networks with single zeros at random places: compacted, with the kernels that are chosen, against dense ones.

ResNet-50 at 160 px and MobileNetV2 at 224 px, batch 1, one thread; zeros in every convolution of one group but the first, and
in the classifier. The dense models are torch's own: norms folded by `torch.fx.experimental.optimization.fuse`, channels first
(what the aims are against) and channels last. At least 1.6 (90 % zeros), 2.1 (95 %) and 1.25 (MobileNetV2, 90 %) are the aims,
and at least 0.98 at 50 and 80 %.

    nox -s bench -- mtl-core
"""

import copy
import time

import torch
import torchvision
from pairs import Figures, work
from torch import nn
from torch.fx.experimental.optimization import fuse

from mtl_core import compact

CASES = (("resnet50", 160, (0.5, 0.8, 0.9, 0.95)), ("mobilenet_v2", 224, (0.5, 0.8, 0.9)))
"""Architecture, image size, shares of zeros."""


NAMES = {"resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2"}


def main(repeats: int = 25) -> None:
    torch.set_num_threads(1)
    figures = Figures(__file__)
    for name, pixels, shares in CASES:
        for share in shares:
            compare(figures, name, pixels, share, repeats)


def compare(figures: Figures, name: str, pixels: int, share: float, repeats: int) -> None:
    """How many times faster than the dense models."""
    model = pruned(name, share)
    x = torch.randn(1, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))
    start = time.perf_counter()
    small = compact(model, x)
    seconds = time.perf_counter() - start
    dense = fuse(model)
    last, x_last = copy.deepcopy(dense).to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = dense(x)
        apart = float((small(x) - expected).abs().max() / expected.abs().max())
        calls = (lambda: small(x), lambda: dense(x), lambda: last(x_last))
        times = [[work(call) for call in calls] for _ in range(repeats + 2)][2:]
    chosen = f"{len(small.kernels.sparse)} of {len(small.kernels.layers)}"
    print(f"{name}, {share:.0%}: difference {apart:.1e}, sparse layers {chosen}, chosen in {seconds:.0f} s", flush=True)
    for place, which in ((1, "dense, norms folded"), (2, "the same, channels last")):
        figures.add(
            f"{NAMES[name]}, {pixels} px, {share:.0%} zeros, against {which}", [t[place] / t[0] for t in times], "×"
        )


def pruned(name: str, share: float) -> nn.Module:
    """The architecture with that share of zeros."""
    torch.manual_seed(0)
    model: nn.Module = getattr(torchvision.models, name)(weights=None).eval()
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and m.groups == 1)]
    with torch.no_grad():
        for layer in layers[1:]:
            layer.weight[torch.rand_like(layer.weight) < share] = 0
    return model


if __name__ == "__main__":
    main()
