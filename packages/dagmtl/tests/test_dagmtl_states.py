"""Shapes of states, layers between them, and adapters only where shapes differ."""

from functools import partial

import pytest
import torch
from torch import nn

from dagmtl import State, group_norm, layer, omniglot_states, stem, vgg16_states
from dagmtl.states import adapter, check_layer, check_states


def test_the_presets_have_the_papers_numbers_of_states() -> None:
    """Eight and twelve; VGG-16's after its first convolution, whose output is the input state."""
    assert [tuple(state) for state in vgg16_states()] == [(64, 1)] + 2 * [(128, 2)] + 3 * [(256, 4)] + 3 * [
        (512, 8)
    ] + 3 * [(512, 16)]
    assert [state.channels for state in omniglot_states()] == [48] * 8
    side, sides = 105, []
    for state in omniglot_states():
        sides.append(-(-side // state.stride))
    assert sides == [53, 27, 27, 14, 7, 7, 4, 4]


def test_presets_can_be_narrower_and_finer() -> None:
    """A width factor, and a largest stride."""
    assert {state.channels for state in vgg16_states(0.25)} == {16, 32, 64, 128}
    assert max(state.stride for state in vgg16_states(0.25, output_stride=4)) == 4
    assert [state.stride for state in omniglot_states(16, output_stride=8)] == [2, 4, 4, 8, 8, 8, 8, 8]


@pytest.mark.parametrize(("source", "target"), [((4, 1), (4, 1)), ((4, 1), (8, 2)), ((8, 2), (8, 8)), ((3, 1), (6, 4))])
@pytest.mark.parametrize("side", [5, 8, 13])
def test_whatever_way_is_taken_a_state_has_one_shape(source, target, side) -> None:
    """A layer, an adapter, and two layers by a state between them give maps of one size."""
    source, target = State(*source), State(*target)
    between = State(5, source.stride if target.stride < 4 else target.stride // 2)
    v = torch.rand(2, source.channels, side, side)
    given = layer(source, target)(v)
    assert given.shape == adapter(source, target)(v).shape
    assert given.shape == layer(between, target)(layer(source, between)(v)).shape
    assert given.shape[1] == target.channels


def test_an_adapter_of_equal_shapes_is_nothing() -> None:
    """And one of equal channels has no weights."""
    assert isinstance(adapter(State(4, 2), State(4, 2)), nn.Identity)
    assert not list(adapter(State(4, 2), State(4, 8)).parameters())
    assert [tuple(p.shape) for p in adapter(State(4, 2), State(6, 2)).parameters()] == [(6, 4, 1, 1)]


def test_a_stem_says_its_channels() -> None:
    """Its stride counts pixels."""
    made = stem(1, 8, stride=2)
    assert made.channels == 8
    assert made(torch.zeros(1, 1, 9, 9)).shape == (1, 8, 5, 5)


def test_the_norm_of_a_layer_is_a_samples_own() -> None:
    """What a sample gives does not depend on its batch, in training neither."""
    made = layer(State(4), State(6), group_norm).train()
    v = torch.rand(3, 4, 6, 6)
    torch.testing.assert_close(made(v)[:1], made(v[:1]))
    assert group_norm(6).num_groups == 2


def test_a_layer_passes_the_scale_of_its_state_on_and_one_with_a_norm_does_not() -> None:
    """So the weight of a connection before a layer means something; the layer's own bias starts at 0."""
    v = torch.rand(3, 4, 6, 6, dtype=torch.float64)
    plain, normed = (layer(State(4), State(6), norm).double() for norm in (None, group_norm))
    torch.testing.assert_close(plain(3 * v), 3 * plain(v))
    torch.testing.assert_close(normed(3 * v), normed(v), rtol=1e-3, atol=1e-4)  # but for the norm's eps
    assert [tuple(p.shape) for p in plain.parameters()] == [(6, 4, 3, 3), (6,)]


def test_a_batch_norm_in_a_layer_is_refused() -> None:
    """Several tasks with different inputs pass it."""
    with pytest.raises(ValueError, match=r"`layer` must not keep statistics over the batch.*BatchNorm2d"):
        check_layer(partial(layer, norm=nn.BatchNorm2d)(State(4), State(4)))


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([State(4)], "`states` must be at least two. Got 1"),
        ([State(4), State(0)], "`states` must have positive sizes"),
        ([State(4, 2), State(4, 3)], "each stride a multiple of the one before"),
        ([State(4, 4), State(4, 2)], "each stride a multiple of the one before"),
    ],
)
def test_states_without_layers_between_them_are_refused(states, message) -> None:
    """Fewer than two, empty ones, strides that do not fit."""
    with pytest.raises(ValueError, match=message):
        check_states(states)
