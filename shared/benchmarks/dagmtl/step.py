"""What the search costs against passes of one task, how long a reduction takes, and whether latency follows the layers computed.

A step of the search on K = 3 tasks against K times the step of a space of one task (at most 1.05 is the aim), 8 states of 64
channels at 16×16, M = 5, one thread, the same fused Adam; the reduction of 18 states, M = 7, 5 tasks (at most 100 ms); and the
time of the network that is left against that of all layers kept, beside the ratio of their operations (at most 1.15 times it;
layers of 19 MFLOP for each image).

    nox -s bench -- dagmtl
"""

from collections.abc import Callable
from contextlib import ExitStack

import torch
from pairs import Figures, compare, work
from torch import nn

import dagmtl
from dagmtl import CentralNetwork, State
from mtl_core import MultiTaskData, Run, Task, heads, measure, weighting
from mtl_core.datasets import arrays
from mtl_core.task import classification

K, CHANNELS, PIXELS, BATCH, STATES, FLOW = 3, 64, 16, 16, 8, 5
NAMES = [f"task{k}" for k in range(K)]


def main(repeats: int = 7) -> None:
    torch.set_num_threads(1)
    figures = Figures(__file__)
    figures.add(f"search step, {K} tasks / {K} x the step of one task", [r / K for r in search(repeats)], digits=3)
    figures.add("reduction of 18 states, M = 7, 5 tasks", [1e3 * seconds for seconds in reduction(repeats)], "ms")
    times, operations = found(repeats)
    figures.add("time of the network found / of all layers kept", times, digits=3)
    figures.add("operations of the network found / of all layers kept", [operations], digits=3)
    figures.add("ratio of the times / ratio of the operations", [t / operations for t in times], digits=3)


def space(tasks: dict[str, Task], flow: int | None = FLOW) -> CentralNetwork:
    return CentralNetwork(dagmtl.stem(3, CHANNELS), [State(CHANNELS)] * STATES, flow, tasks, heads.linear())


def data() -> MultiTaskData:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2 * BATCH, 3, PIXELS, PIXELS, generator=generator)
    labels = {name: torch.randint(0, 10, (len(images),), generator=generator) for name in NAMES}
    return MultiTaskData([classification(name, 10) for name in NAMES], arrays(images, labels))


def search(repeats: int) -> list[float]:
    whole = data()
    with ExitStack() as stack:
        return compare(start(stack, whole), start(stack, whole.select(NAMES[:1])), repeats)


def start(stack: ExitStack, some: MultiTaskData) -> Callable[[], None]:
    """A phase of the search, and the function that makes one step of it."""
    model = space(some.tasks)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    phase = stack.enter_context(Run(progress=False).phase("search", model=model, optimizer=optimizer))
    batches = phase.batches(some.train, epochs=10**6, batch_size=BATCH)

    def step() -> None:
        loss = weighting.equal(phase.losses(model, next(batches)), phase.labelled)
        phase.step(loss + 0.05 * dagmtl.squeeze_loss(model.gamma(list(some.tasks)), STATES - 1.0), optimizer)

    return step


def reduction(repeats: int) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for _ in range(5):
        gamma = torch.rand(18, 18, generator=generator).triu(1).tril(7)
        alpha, beta = torch.rand(18, generator=generator), torch.rand(18, generator=generator)
        alpha[0], beta[-1] = 1.0, 1.0  # the whole window: the longest run
        graphs.append((gamma, alpha, beta))
    return [work(lambda: [dagmtl.reduce_flow(*graph) for graph in graphs]) for _ in range(repeats + 2)][2:]


def found(repeats: int) -> tuple[list[float], float]:
    torch.manual_seed(1)
    central = space(data().tasks)
    for parameter in central.upper.parameters():
        nn.init.normal_(parameter, std=2.0)
    weights = {task: central.matrices(task) for task in NAMES}
    small, whole = (
        central.discrete({task: reduce(*weights[task]) for task in NAMES}).eval()
        for reduce in (dagmtl.reduce_flow, dagmtl.keep_all)
    )
    example = torch.rand(1, 3, PIXELS, PIXELS)
    operations = measure(small, example, repeats=2).whole.flops / measure(whole, example, repeats=2).whole.flops
    with torch.inference_mode():
        return compare(lambda: small(example), lambda: whole(example), 5 * repeats), operations


if __name__ == "__main__":
    main()
