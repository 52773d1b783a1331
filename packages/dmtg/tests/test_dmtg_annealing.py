"""The annealed assignment: a softmax of running means at a falling temperature."""

import math

import pytest
import torch
from torch import Generator

import dmtg

NOTHING = Generator()


def test_it_equals_the_formula_written_out() -> None:
    """Running mean and softmax, loss by loss, over several steps."""
    g = Generator().manual_seed(0)
    steps = [torch.rand(2, 3, generator=g) for _ in range(6)]
    assignment = dmtg.AnnealedAssignment(2, 3, start=0.1, end=0.003, memory=0.9)
    mean = steps[0].tolist()
    for number, losses in enumerate(steps):
        progress = number / 6
        G = assignment.mix(losses, torch.tensor([True, True]), NOTHING, progress)
        T = 0.1 * (0.003 / 0.1) ** progress
        for i in range(2):
            if number:
                mean[i] = [0.9 * old + 0.1 * float(new) for old, new in zip(mean[i], losses[i], strict=True)]
            terms = [math.exp(-(value - min(mean[i])) / T) for value in mean[i]]
            assert G[i].tolist() == pytest.approx([term / sum(terms) for term in terms], abs=1e-4)
    assert assignment.assignment() == [mean[i].index(min(mean[i])) for i in range(2)]


def test_equal_branches_are_weighed_equally_and_the_last_temperature_chooses() -> None:
    """Nothing breaks the symmetry of equal losses; at .003 a difference of .05 decides."""
    assignment = dmtg.AnnealedAssignment(1, 2)
    labelled = torch.tensor([True])
    assert assignment.mix(torch.tensor([[0.7, 0.7]]), labelled, NOTHING, 0.0).tolist() == [[0.5, 0.5]]
    other = dmtg.AnnealedAssignment(1, 2)
    assert other.mix(torch.tensor([[0.7, 0.65]]), labelled, NOTHING, 1.0)[0, 1] > 0.9999


def test_a_step_without_a_label_leaves_no_trace() -> None:
    """What stands in the row of such a task is not looked at."""
    one, other = (dmtg.AnnealedAssignment(2, 2) for _ in range(2))
    first = torch.tensor([[0.2, 0.4], [0.3, 0.1]])
    for assignment, beneath in ((one, 0.0), (other, 1000.0)):
        assignment.mix(first, torch.tensor([True, True]), NOTHING, 0.0)
        assignment.mix(torch.tensor([[0.5, 0.2], [beneath, 0.0]]), torch.tensor([True, False]), NOTHING, 0.1)
    assert torch.equal(one.probabilities(), other.probabilities())
    assert torch.equal(one.mean[1], first[1])


def test_it_continues_from_its_state() -> None:
    """Means, what was seen and the temperature."""
    one, other = (dmtg.AnnealedAssignment(1, 2) for _ in range(2))
    one.mix(torch.tensor([[0.5, 0.4]]), torch.tensor([True]), NOTHING, 0.3)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.probabilities(), other.probabilities())


def test_unusable_arguments_of_annealing_are_refused() -> None:
    """Temperatures and memory."""
    for name in ("start", "end"):
        with pytest.raises(ValueError, match=f"`{name}` must be positive and finite"):
            dmtg.AnnealedAssignment(1, 2, **{name: 0.0})
    with pytest.raises(ValueError, match=r"`memory` must be in \[0, 1\)"):
        dmtg.AnnealedAssignment(1, 2, memory=1.0)
