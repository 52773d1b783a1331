"""What to deploy with: a network without 70 % of its channels, exported, beside the dense one, in each runtime, one thread.

Channels are emptied at random, the zeros are removed, both models are exported to `.onnx`
(each file is compared with its model on the way), and one image after the other is put through eager torch, onnxruntime and
OpenVINO (f32). All are timed in turns in one run; a figure is how many times faster than dense eager torch, as the median of
the turns' ratios.

    nox -s bench -- mtl-core
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pairs import Figures
from torch import Tensor, nn

from mtl_core import SharedBackbone, backbones, compact, export, heads
from mtl_core.task import classification

SHARE = 0.7
"""Channels that are emptied."""

REPEATS = 21
CASES = {
    "ResNet-18, 128 px": (lambda: backbones.resnet18(), 128),
    "MobileNetV2, 128 px": (lambda: backbones.mobilenet_v2(), 128),
}


def network(make: Callable[[], nn.Module]) -> SharedBackbone:
    torch.manual_seed(0)
    tasks = [classification(name, classes=10) for name in ("a", "b", "c")]
    return SharedBackbone(make(), tasks, heads.linear()).eval()


def empty_channels(model: nn.Module) -> None:
    """Empty a share of the channels: the rows of a convolution, the gain and the shift of the norm after it.

    Which, hangs on the number of channels alone: what a residual stream adds up is empty in all of its parts or in none.
    """
    before = None
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                before = module
            elif isinstance(module, nn.BatchNorm2d):
                order = torch.randperm(
                    module.num_features, generator=torch.Generator().manual_seed(module.num_features)
                )
                gone = order[: round(SHARE * module.num_features)]
                module.weight[gone] = module.bias[gone] = 0.0
                before.weight[gone] = 0.0


def eager(model: nn.Module, example: Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return model(example)

    return run


def in_onnxruntime(path: Path, example: Tensor) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {"input": example.numpy()}
    return lambda: session.run(None, inputs)


def in_openvino(path: Path, example: Tensor) -> Callable[[], object]:
    import openvino

    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(path, "CPU", options).create_infer_request()
    inputs = example.numpy()
    return lambda: request.infer({0: inputs}, share_inputs=True)


def seconds(function: Callable[[], object]) -> float:
    """Time by the clock: the runtimes' threads are not this process's alone."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(figures: Figures, name: str, make: Callable[[], nn.Module], side: int) -> None:
    """How many times faster than dense eager torch each way of running is."""
    example = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    dense, pruned = network(make), network(make)
    empty_channels(pruned)
    models = {"dense": dense, "compacted": compact(pruned, example)}
    with tempfile.TemporaryDirectory() as folder:
        runs, bytes_ = {}, {}
        for which, model in models.items():
            path = export(model, example, Path(folder) / f"{which}.onnx")
            bytes_[which] = path.stat().st_size
            runs[f"{which}, torch"] = eager(model, example)
            runs[f"{which}, onnxruntime"] = in_onnxruntime(path, example)
            runs[f"{which}, OpenVINO"] = in_openvino(path, example)
        for run in runs.values():
            for _ in range(3):
                run()
        times = {which: [] for which in runs}
        for _ in range(REPEATS):
            for which, run in runs.items():
                times[which].append(seconds(run))
    for which, taken in times.items():
        if which != "dense, torch":
            ratios = [base / own for base, own in zip(times["dense, torch"], taken, strict=True)]
            figures.add(f"{name}, {which}, against dense torch", ratios, "×", 1)
    print(", ".join(f"{which} {size / 2**20:.1f} MiB" for which, size in bytes_.items()), flush=True)


def main() -> None:
    """Run each case."""
    torch.set_num_threads(1)
    figures = Figures(__file__)
    for name, (make, side) in CASES.items():
        compare(figures, name, make, side)


if __name__ == "__main__":
    main()
