"""Networks with whole channels at zero: compacted, against the dense ones and against Torch-Pruning on the same zeros.

ResNet-18, ResNet-50 and MobileNetV2 at 224 px, one thread. Half, or 70 %, of each group of coupled channels (Torch-Pruning's
groups: layers whose outputs are added have the same ones) is set to zero, weights, scales and shifts; Torch-Pruning removes
the same channels from a copy. The ideal is the ratio of FLOPs (multiply-adds counted twice), dense over compacted; at least
75 % of it over the dense eager model is the aim at half of the channels, 50 % at 70 %.

    nox -s bench -- mtl-core
"""

import copy

import torch
import torch_pruning
import torchvision
from pairs import Figures, work
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.utils.flop_counter import FlopCounterMode

from mtl_core import compact

CASES = tuple((name, share) for name in ("resnet18", "resnet50", "mobilenet_v2") for share in (0.5, 0.7))
"""Architecture and share of the channels that are zero."""


NAMES = {"resnet18": "ResNet-18", "resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2"}


def main(pixels: int = 224, batch: int = 8, repeats: int = 25) -> None:
    torch.set_num_threads(1)
    figures = Figures(__file__)
    for name, share in CASES:
        compare(figures, name, share, torch.randn(batch, 3, pixels, pixels), repeats)


def compare(figures: Figures, name: str, share: float, x: torch.Tensor, repeats: int) -> None:
    """How many times faster than the dense models, ours and Torch-Pruning's."""
    torch.manual_seed(0)
    dense: nn.Module = getattr(torchvision.models, name)(weights=None).eval()
    cut = zero_channels(dense, share, x[:1])
    small = compact(dense, x)
    last, x_last = fuse(dense).to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    with torch.no_grad():
        ideal = flops(dense, x) / flops(small, x)
        expected = dense(x)
        apart = float((small(x) - expected).abs().max() / expected.abs().max())
        calls = (lambda: small(x), lambda: dense(x), lambda: last(x_last), lambda: cut(x))
        times = [[work(call) for call in calls] for _ in range(repeats + 1)][1:]
    before, after, their = (sum(p.numel() for p in m.parameters()) / 1e6 for m in (dense, small, cut))
    print(
        f"{name}, {share:.0%}: parameters {before:.2f} M, ours {after:.2f} M, theirs {their:.2f} M, difference {apart:.1e}"
    )
    case = f"{NAMES[name]}, {share:.0%} of the channels"
    figures.add(f"{case}, against dense eager (ideal {ideal:.2f})", [t[1] / t[0] for t in times], "×")
    figures.add(f"{case}, share of the ideal", [100 * t[1] / t[0] / ideal for t in times], "%", 0)
    figures.add(f"{case}, against norms folded, channels last", [t[2] / t[0] for t in times], "×")
    figures.add(f"{case}, Torch-Pruning against dense eager", [t[1] / t[3] for t in times], "×")


def zero_channels(dense: nn.Module, share: float, x: torch.Tensor) -> nn.Module:
    """Set channels to zero, and give a copy from which Torch-Pruning has removed them."""
    cut = copy.deepcopy(dense)
    graph = torch_pruning.DependencyGraph().build_dependency(cut, example_inputs=x)
    named = {module: name for name, module in cut.named_modules()}
    *_, classifier = (module for module in cut.modules() if isinstance(module, nn.Linear))
    generator = torch.Generator().manual_seed(0)
    for group in graph.get_all_groups(ignored_layers=[classifier], root_module_types=[nn.Conv2d]):
        root = group[0].dep.target.module
        channels = torch.randperm(root.out_channels, generator=generator)[: int(share * root.out_channels)].tolist()
        group = graph.get_pruning_group(root, torch_pruning.prune_conv_out_channels, channels)
        for dependency, places in group:
            layer = dependency.target.module
            if layer in named and graph.is_out_channel_pruning_fn(dependency.handler):
                for value in dense.get_submodule(named[layer]).parameters(recurse=False):
                    value.data[places] = 0
        group.prune()
    return cut


def flops(model: nn.Module, x: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
