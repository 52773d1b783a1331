"""Networks with whole channels at zero: compacted, against the dense ones and against Torch-Pruning on the same zeros.

ResNet-18, ResNet-50 and MobileNetV2 at 224 px, one thread. Half, or 70 %, of each group of coupled channels (Torch-Pruning's
groups: layers whose outputs are added have the same ones) is set to zero, weights, scales and shifts; Torch-Pruning removes
the same channels from a copy. The ideal is the ratio of FLOPs (multiply-adds counted twice), dense over compacted; at least
75 % of it over the dense eager model is the aim at half of the channels, 50 % at 70 %.

    nox -s bench -- mtl-core
"""

import copy
import statistics

import torch
import torch_pruning
import torchvision
from pairs import work
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.utils.flop_counter import FlopCounterMode

from mtl_core import compact

CASES = tuple((name, share) for name in ("resnet18", "resnet50", "mobilenet_v2") for share in (0.5, 0.7))
"""Architecture and share of the channels that are zero."""


def main(cases: tuple[tuple[str, float], ...] = CASES, pixels: int = 224, batch: int = 8, repeats: int = 9) -> None:
    torch.set_num_threads(1)
    print(f"{pixels} px, batch {batch}; parameters in millions; ratios are medians of {repeats}")
    print(
        "network       zero  parameters      ideal  over dense eager (of ideal)  over folded, ch. last  Torch-Pruning",
        end="",
    )
    print("  difference")
    for name, share in cases:
        print(row(name, share, torch.randn(batch, 3, pixels, pixels), repeats), flush=True)


def row(name: str, share: float, x: torch.Tensor, repeats: int) -> str:
    """One line of the table."""
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
    ours = statistics.median(t[1] / t[0] for t in times)
    folded = statistics.median(t[2] / t[0] for t in times)
    theirs = statistics.median(t[1] / t[3] for t in times)
    before, after, their = (sum(p.numel() for p in m.parameters()) / 1e6 for m in (dense, small, cut))
    return (
        f"{name:12}  {share:.0%}   {before:5.2f} → {after:5.2f}  {ideal:6.2f}  {ours:9.2f} ({ours / ideal:.0%})"
        f"{folded:26.2f}{theirs:18.2f} ({their:.2f})  {apart:.1e}"
    )


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
