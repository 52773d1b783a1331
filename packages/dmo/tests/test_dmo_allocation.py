"""Which weights survive: exactly so many, by size and place; unions against a loop over every weight; zeros that stay."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import dmo
from mtl_core import keep_zeros
from mtl_core.sparsity import prunable_weights


def weights(seed, *, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return {"a": torch.randn(4, 3, generator=g).to(dtype), "b": torch.randn(2, 3, 2, 2, generator=g).to(dtype)}


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def test_a_harder_task_keeps_more_and_never_more_than_its_temperature_allows() -> None:
    """Monotonous from 0 to 1 - exp(-1/tau); a colder temperature keeps more."""
    d = torch.linspace(0, 1, 101, dtype=torch.float64)
    for tau in (0.25, 0.5, 1.0, 3.0):
        kept = dmo.keep_ratio(d, tau)
        assert kept[0] == 0
        assert bool((kept.diff() > 0).all())
        assert float(kept[-1]) == pytest.approx(1 - math.exp(-1 / tau))
        torch.testing.assert_close(kept, 1 - torch.exp(-d / tau))
    assert bool((dmo.keep_ratio(d, 0.25) >= dmo.keep_ratio(d, 1.0)).all())


def test_the_shares_of_the_released_code_follow_from_its_difficulties() -> None:
    """c10, stl, usps, mnist; to the digits that its log gives."""
    d = torch.tensor([0.071, 0.660, 0.00137, 0.00157], dtype=torch.float64)
    assert dmo.keep_ratio(d).tolist() == pytest.approx([0.0685, 0.4834, 0.00137, 0.00157], abs=6e-4)


def test_what_is_no_share_or_no_temperature_is_refused() -> None:
    """Out of range, by name."""
    with pytest.raises(ValueError, match=r"`tau` must be positive. Got `tau = 0"):
        dmo.keep_ratio(0.5, tau=0.0)
    with pytest.raises(ValueError, match=r"`d` must be shares from 0 to 1. Got `d = 1.5`"):
        dmo.keep_ratio(1.5)
    with pytest.raises(ValueError, match=r"`keep` must be a share from 0 to 1. Got `keep = -0.1`"):
        dmo.magnitude_mask(weights(0), -0.1)
    with pytest.raises(ValueError, match="`min_keep` must be a share from 0 to 1"):
        dmo.magnitude_mask(weights(0), 0.1, min_keep=2.0)
    with pytest.raises(ValueError, match="`weights` must hold at least one tensor"):
        dmo.magnitude_mask({}, 0.1)
    with pytest.raises(ValueError, match=r"`weights` must be numbers. Got NaN"):
        dmo.magnitude_mask({"a": torch.tensor([1.0, float("nan")])}, 0.5)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_exactly_so_many_survive_the_largest_ties_by_position(values, keep, min_keep) -> None:
    """Against sorting all weights by size and place; many are equal, and zeros may survive."""
    tensor = torch.tensor(values, dtype=torch.float32)
    parts = {"a": tensor[: len(values) // 2], "b": tensor[len(values) // 2 :]}
    mask = flat(dmo.magnitude_mask({k: v for k, v in parts.items() if len(v)}, keep, min_keep))
    kept = max(1, round(keep * len(values)), round(min_keep * len(values)))
    order = sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))[:kept]
    assert mask.nonzero().flatten().tolist() == sorted(order)


def test_at_least_one_weight_and_at_least_min_keep_survive() -> None:
    """A task without a difficult sample keeps no empty network."""
    large = {"a": torch.randn(1000, generator=torch.Generator().manual_seed(0))}
    assert int(flat(dmo.magnitude_mask(large, 0.0)).sum()) == 1
    assert int(flat(dmo.magnitude_mask(large, 0.0, min_keep=0.01)).sum()) == 10
    assert int(flat(dmo.magnitude_mask(large, 1.0)).sum()) == 1000


def looped(several, masks, difficulties):
    """Weight by weight: of the tasks for which it survives, the value of the hardest, the first of equals."""
    values = {name: torch.zeros_like(w) for name, w in several[0].items()}
    union = {name: torch.zeros_like(w, dtype=torch.bool) for name, w in several[0].items()}
    for name, w in several[0].items():
        for place in range(w.numel()):
            found = [t for t in range(len(several)) if bool(masks[t][name].flatten()[place])]
            if found:
                best = max(found, key=lambda t: (difficulties[t], -t))
                values[name].view(-1)[place] = several[best][name].flatten()[place]
                union[name].view(-1)[place] = True
    return values, union


@pytest.mark.parametrize("difficulties", [[0.1, 0.9, 0.5], [0.9, 0.1, 0.2], [0.4, 0.4, 0.4], [0.0, 1.0, 1.0]])
def test_the_union_and_the_priority_are_those_of_a_loop_over_every_weight(difficulties) -> None:
    """Values bit by bit, the mask, and whose norms the group starts with."""
    several = [weights(seed) for seed in range(3)]
    masks = [dmo.magnitude_mask(w, k) for w, k in zip(several, (0.3, 0.5, 0.4), strict=True)]
    merged = dmo.merge(several, masks, difficulties)
    values, union = looped(several, masks, difficulties)
    for name in values:
        assert torch.equal(merged.values[name], values[name])
        assert torch.equal(merged.mask[name], union[name])
        assert not merged.values[name][~union[name]].any()
    assert merged.hardest == max(range(3), key=lambda t: (difficulties[t], -t))
    assert any(bool((masks[0][name] & masks[1][name]).any()) for name in values)


def test_an_entry_for_each_task_is_asked_for() -> None:
    """Weights, masks and difficulties."""
    with pytest.raises(ValueError, match=r"must have an entry for each of the tasks. Got 1, 1 and 2"):
        dmo.merge([weights(0)], [dmo.magnitude_mask(weights(0), 0.5)], [0.1, 0.2])
    with pytest.raises(ValueError, match="must have an entry for each"):
        dmo.merge([], [], [])


@pytest.mark.parametrize(
    "make",
    [
        partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-4),
        partial(torch.optim.Adam, lr=0.1, weight_decay=0.01),
        partial(torch.optim.AdamW, lr=0.1, weight_decay=0.01, fused=True),
    ],
)
def test_pruned_weights_are_exactly_zero_after_every_step(make) -> None:
    """Momentum, decay and Adam would revive them; a survivor that happens to be zero is free to move."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    optimizer = make(model.parameters())
    run = partial(_step, model, optimizer)
    run()  # momentum from before the pruning
    masks = dmo.magnitude_mask(prunable_weights(model), 0.4)
    with torch.no_grad():
        for name, weight in prunable_weights(model).items():
            weight.mul_(masks[name])
        lucky = masks["4.weight"].nonzero()[0].tolist()
        model[4].weight[lucky[0], lucky[1]] = 0.0
    with keep_zeros(model, optimizer, {name: ~mask for name, mask in masks.items()}):
        for _ in range(5):
            run()
            for name, weight in prunable_weights(model).items():
                assert not weight[~masks[name]].any()
    assert float(model[4].weight.detach()[lucky[0], lucky[1]]) != 0


def _step(model, optimizer):
    optimizer.zero_grad()
    (model(torch.rand(4, 1, 4, 4)) - 3).square().sum().backward()
    optimizer.step()
