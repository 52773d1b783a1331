"""Measuring: figures do not depend on the batch size, labels may be missing, and the model is left as it was."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

import mtl_core as core
from mtl_core.task import Task, classification, depth, segmentation

TASKS = [classification("kind", 3), depth("far", weight=5.0), segmentation("parts", 3)]


class Net(nn.Module):
    """Norm and dropout: evaluation mode matters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Tanh())
        self.heads = nn.ModuleDict({"kind": nn.Linear(64, 3), "far": nn.Conv2d(4, 1, 1), "parts": nn.Conv2d(4, 3, 1)})

    def forward(self, x: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        features = self.body(x)
        return {n: self.heads[n](features.flatten(1) if n == "kind" else features) for n in tasks or self.heads}


def source(count: int, seed: int, names: Sequence[str]) -> list[tuple[Tensor, dict[str, Tensor]]]:
    g = torch.Generator().manual_seed(seed)
    made = []
    for index in range(count):
        parts = torch.randint(3, (4, 4), generator=g).masked_fill(torch.rand(4, 4, generator=g) < 0.4, 255)
        far = torch.rand(1, 4, 4, generator=g) * (torch.rand(1, 4, 4, generator=g) < 0.5)
        targets = {"kind": torch.tensor(index % 3), "far": far, "parts": parts}
        made.append((torch.rand(1, 4, 4, generator=g), {n: targets[n] for n in names if index % 4 or not index}))
    return made


def part(augment: core.types.Augment | None = None) -> core.Split:
    sources = [source(9, 0, ["kind", "far"]), source(6, 1, ["far", "parts"])]
    data = core.MultiTaskData(TASKS, sources, sources, augment=augment)
    assert data.validation is not None
    return data.validation


def test_no_figure_depends_on_the_batch_size() -> None:
    """Metrics, mean losses and losses per sample over the whole part."""
    model, split = Net(), part()
    for batch_size in (1, 2, 7):
        figures = core.evaluate(model, split, batch_size=batch_size)
        whole = core.evaluate(model, split)
        assert {t: list(f) for t, f in figures.items()} == {t: list(f) for t, f in whole.items()}
        for task, values in whole.items():
            assert figures[task] == pytest.approx(values, rel=1e-6, nan_ok=True)
        losses = core.mean_losses(model, split, batch_size=batch_size)
        assert losses == pytest.approx(core.mean_losses(model, split), rel=1e-6)
        for task in TASKS:
            one, many = (core.sample_losses(model, split, task, batch_size=b) for b in (batch_size, 64))
            torch.testing.assert_close(one, many)


def test_mean_losses_are_means_over_labelled_elements_without_task_weights() -> None:
    """Equal to a loop over pixels; and to the mean of the losses per sample where each has one element."""
    model, split = Net().eval(), part()
    terms = []
    for view in split.views(1):
        if "far" in view.targets:
            hit = view.targets["far"] > 0
            terms += (model(view.inputs)["far"] - view.targets["far"])[hit].abs().tolist()
    found = core.mean_losses(model, split)
    assert found["far"] == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    assert found["kind"] == pytest.approx(core.sample_losses(model, split, TASKS[0]).mean().item(), rel=1e-5)


def test_losses_per_sample_leave_out_samples_without_a_label() -> None:
    """In the order of the data; none at all gives none."""
    model, split = Net(), part()
    assert len(core.sample_losses(model, split, TASKS[0])) == 7
    empty = core.MultiTaskData([TASKS[0]], [(torch.zeros(1, 4, 4), {"kind": None})]).train
    assert core.sample_losses(model, empty, TASKS[0]).shape == (0,)


def test_the_model_is_left_in_its_modes_and_unchanged() -> None:
    """Also a part that its owner keeps in evaluation mode; norms learn nothing; and no random number is drawn."""
    model, split = Net(), part()
    model.body[1].eval()
    modes, before = [m.training for m in model.modules()], {n: t.clone() for n, t in model.state_dict().items()}
    state = torch.get_rng_state()
    core.evaluate(model, split), core.mean_losses(model, split), core.sample_losses(model, split, TASKS[0])
    assert [m.training for m in model.modules()] == modes
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_nothing_is_augmented_where_it_is_measured() -> None:
    """Not even the training part."""

    def fail(x: Tensor, targets: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        raise AssertionError

    split = part(fail)
    core.evaluate(Net(), split)
    train = core.MultiTaskData(TASKS[:1], source(4, 0, ["kind"]), augment=fail).train
    core.mean_losses(Net(), train)


def test_some_tasks_may_be_asked_for() -> None:
    """Equal to their share of all; unknown ones, and a part that is not there, are refused."""
    model, split = Net(), part()
    assert core.evaluate(model, split, {"far": TASKS[1]}) == {"far": core.evaluate(model, split)["far"]}
    with pytest.raises(ValueError, match=r"`tasks` must be among \['kind', 'far', 'parts'\]. Got \['near'\]"):
        core.evaluate(model, split, {"near": TASKS[0]})
    with pytest.raises(ValueError, match=r"`sources` must be a part of the data. Got None"):
        core.evaluate(model, None)


def test_a_mean_has_no_losses_per_sample() -> None:
    """Refused with the task's name."""
    own = Task("kind", 3, lambda p, t: (p.mean(), torch.tensor(True)))
    with pytest.raises(ValueError, match=r"`elements` of task `kind` must give a value per sample"):
        core.sample_losses(Net(), part(), own)


def test_a_float64_model_is_measured_in_float64() -> None:
    """Inputs take the type of the weights."""
    narrow, wide = core.mean_losses(Net(), part()), core.mean_losses(Net().double(), part())
    assert narrow == pytest.approx(wide, rel=1e-5)
