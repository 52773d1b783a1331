"""Which channels are removed, and what their constants become."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_core.compaction import Compacted, Kernels, compact

DENSE = Kernels()
SIZES = ((1, 3, 7, 7), (2, 3, 11, 6), (1, 3, 32, 33))


def seeded(*layers: nn.Module) -> nn.Sequential:
    """The layers in a row in evaluation mode, with weights from a fixed seed."""
    model = nn.Sequential(*layers).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.3 if "weight" in name else 0.5))
    return model


def reduced(model: nn.Module, example: Tensor | None = None) -> Compacted:
    """The compacted model, once it has been seen to be equal at several sizes."""
    small = compact(model, torch.randn(SIZES[0]) if example is None else example, kernels=DENSE)
    if example is None:
        with torch.no_grad():
            for size in SIZES:
                x = torch.randn(size)
                a, b = model(x), small(x)
                assert (a - b).abs().max() <= 1e-5 * a.abs().max()
    return small


def after(small: Compacted) -> list[str]:
    return [row.after for row in small.table]


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_constants_at_padded_borders_are_exact_at_any_size(stride: int, dilation: int) -> None:
    """Of dead channels that emit a constant into a zero-padded convolution, one stays and stands for all."""
    model = seeded(nn.Conv2d(3, 8, 1), nn.Sigmoid(), nn.Conv2d(8, 5, 3, stride, 2, dilation))
    model[0].weight.data[:4] = 0
    assert after(reduced(model)) == ["3→5, 1×1", "5→5, 3×3"]


def test_constants_that_are_zero_need_no_channel_at_a_padded_border() -> None:
    """What a ReLU cuts off is zero inside as it is outside."""
    model = seeded(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 5, 3, padding=1))
    model[0].weight.data[:4] = 0
    model[0].bias.data[:4] = -0.5
    assert after(reduced(model)) == ["3→4, 1×1", "4→5, 3×3"]


@pytest.mark.parametrize("padding_mode", ["replicate", "circular", "reflect"])
def test_constants_pass_borders_that_repeat_them(padding_mode: str) -> None:
    """Padding with the map's own values keeps a constant constant: it goes into the bias."""
    model = seeded(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 3, padding=1, padding_mode=padding_mode, bias=False))
    model[0].weight.data[:4] = 0
    small = reduced(model)
    assert after(small) == ["3→4, 1×1", "4→5, 3×3"]
    assert small.body.get_submodule("1").bias is not None


def test_constants_go_into_the_bias_where_nothing_is_padded() -> None:
    """Through a norm, an activation and a pooling."""
    model = seeded(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.MaxPool2d(2), nn.Conv2d(8, 5, 1, bias=False))
    model[0].weight.data[2:] = 0
    assert after(reduced(model)) == ["3→2, 3×3", "in 0", "2→5, 1×1"]


def test_channels_that_nobody_reads_are_removed() -> None:
    """A filter that works is dead, too, if the next layer has no weights for it."""
    model = seeded(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 1))
    model[2].weight.data[:, :6] = 0
    assert after(reduced(model)) == ["3→2, 3×3", "2→5, 1×1"]


def test_a_norm_that_multiplies_by_zero_kills_its_channel() -> None:
    """Alone, and folded."""
    model = seeded(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 1), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 1))
    model[3].weight.data[:6] = 0
    small = reduced(model)
    assert after(small) == ["3", "3→2, 1×1", "2", "2→5, 1×1"]


def test_average_pooling_with_a_padded_border_keeps_its_constants() -> None:
    """Zeros are averaged in at the border: the channel is no constant any more."""
    model = seeded(nn.Conv2d(3, 8, 1), nn.AvgPool2d(3, 1, 1), nn.Conv2d(8, 5, 1))
    model[0].weight.data[:4] = 0
    assert after(reduced(model)) == ["3→8, 1×1", "8→5, 1×1"]


def test_depthwise_convolutions_lose_channels_with_their_neighbours() -> None:
    """A dead expansion takes the depthwise filter and the projection's input with it."""
    model = seeded(
        nn.Conv2d(3, 8, 1), nn.ReLU6(), nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.ReLU6(), nn.Conv2d(16, 4, 1)
    )
    model[0].weight.data[:5] = 0
    model[0].bias.data[:5] = -1
    small = reduced(model)
    assert after(small) == ["3→3, 1×1", "3→6, 3×3, 3 groups", "6→4, 1×1"]


def test_grouped_convolutions_lose_whole_groups() -> None:
    """A group of which one channel is needed is kept with all."""
    model = seeded(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(12, 5, 1))
    model[2].weight.data[:, :7] = 0  # two groups of three, and a channel of the third
    assert after(reduced(model)) == ["3→4, 1×1", "4→6, 3×3, 2 groups", "6→5, 1×1"]


def test_group_norms_keep_channels_and_the_next_layer_does_not_need_the_constant_ones() -> None:
    """To remove a channel would change the statistic of those that are left."""
    model = seeded(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 5, 1))
    model[0].weight.data[:3] = 0
    small = reduced(model)
    assert after(small) == ["3→8, 1×1", "8", "8→5, 1×1"]
    assert "GroupNorm shares its statistic" in small.table.named("1").note


def test_layer_norms_of_maps_keep_channels() -> None:
    """Channels last and a norm over them, as in ConvNeXt."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.norm, self.hidden, self.after = (
                nn.Conv2d(3, 6, 1),
                nn.LayerNorm(6),
                nn.Linear(6, 9),
                nn.Linear(9, 6),
            )

        def forward(self, x: Tensor) -> Tensor:
            x = self.before(x)
            return x + self.after(F.gelu(self.hidden(self.norm(x.permute(0, 2, 3, 1))))).permute(0, 3, 1, 2)

    model = seeded(Block())
    model[0].before.weight.data[:2] = 0
    model[0].hidden.weight.data[:4] = 0
    assert after(reduced(model)) == ["3→6, 1×1", "6", "6→5", "5→6"]


class Residual(nn.Module):
    """A convolution around which the input goes, and a layer that reads the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        return self.last((self.norm(self.inner(x)) + x).relu())


def test_a_residual_sum_keeps_what_one_of_its_sides_needs() -> None:
    """Channels dead on both sides are removed; those dead on one are not."""
    model = seeded(Residual())[0]
    with torch.no_grad():
        model.first.weight[:4] = 0
        model.first.bias[:4] = -1
        model.inner.weight[2:6] = 0
        model.inner.bias.zero_()
        model.norm.bias[2:4] = -1
    small = reduced(model)
    # 2 and 3 are dead on both sides; the right computes 0 and 1, the left 4 and 5.
    assert small.table.named("inner").after == "6→6, 3×3"
    assert small.table.named("first").after == "3→6, 1×1"


def test_a_residual_branch_of_zeros_is_left_out() -> None:
    """The layer is gone; what its norm still emits is added as numbers, or not at all if it is zero."""
    for emitted in (0.0, 0.7):
        model = seeded(Residual())[0]
        with torch.no_grad():
            model.inner.weight.zero_()
            model.inner.bias.zero_()
            model.norm.bias.fill_(emitted)
        small = reduced(model)
        assert small.table.named("inner").after == "removed"
        buffers = [name for name, _ in small.body.named_buffers()]
        assert len(buffers) == (emitted != 0)


def test_gates_lose_channels_with_what_they_gate() -> None:
    """A product keeps the same channels on both sides; a gate of one channel meets all."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.gate, self.place = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 1, 1)
            self.last = nn.Conv2d(8, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            x = x * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
            return self.last(x * self.place(x).sigmoid())

    model = seeded(Gated())[0]
    with torch.no_grad():
        model.first.weight[:5] = 0
        model.first.bias[:5] = 0
    assert after(reduced(model)) == ["3→3, 1×1", "3→3, 1×1", "3→1, 1×1", "3→4, 1×1"]


def test_the_classifier_loses_inputs_through_flatten() -> None:
    """Each channel is a block of the flattened vector, whichever way it is written."""

    class Flat(nn.Module):
        def __init__(self, how: str) -> None:
            super().__init__()
            self.first, self.last, self.how = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 49, 4), how

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x).relu()
            if self.how == "view":
                return self.last(x.view(x.size(0), -1))
            if self.how == "number":
                return self.last(x.reshape(-1, 8 * 49))
            return self.last(x.flatten(1))

    for how in ("view", "number", "flatten"):
        model = seeded(Flat(how))[0]
        model.first.weight.data[:5] = 0
        small = reduced(model, torch.randn(2, 3, 7, 7))
        assert after(small) == ["3→3, 3×3", "147→4"], how
        x = torch.randn(5, 3, 7, 7)
        torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-5)


def test_layers_that_are_called_twice_are_kept_whole() -> None:
    """Sliced for one call, a layer would not fit the other; its dead channels are constants all the same."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.both, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.both(F.relu(self.both(self.first(x)))))

    model = seeded(Twice())[0]
    model.both.weight.data[:3] = 0
    small = reduced(model)
    assert after(small) == ["3→6, 1×1", "6→6, 3×3", "6→4, 1×1"]
    assert small.table.named("both").note == "kept whole: called more than once"


def test_a_norm_after_a_convolution_that_others_read_is_not_folded() -> None:
    """Its input is needed as it was."""

    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.first(x)
            return x, self.norm(x)

    model = seeded(Read())[0]
    small = compact(model, torch.randn(1, 3, 5, 5), kernels=DENSE)
    assert small.table.named("norm").after == "6"
    for a, b in zip(model(torch.ones(1, 3, 4, 4)), small(torch.ones(1, 3, 4, 4)), strict=True):
        torch.testing.assert_close(a, b)


def test_what_is_not_analysed_is_kept_with_all_that_it_reads() -> None:
    """A transposed convolution and a step that mixes channels in a way of its own."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.up, self.last = nn.Conv2d(3, 8, 1), nn.ConvTranspose2d(8, 6, 2, 2), nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.up(self.first(x)).cumsum(1))

    model = seeded(Odd())[0]
    model.first.weight.data[:4] = 0
    model.last.weight.data[:, :3] = 0
    small = reduced(model)
    assert after(small) == ["3→8, 1×1", "8→6, 2×2", "6→4, 1×1"]
    assert small.table.named("up").note == "kept whole: ConvTranspose2d is not analysed here"


def test_dead_channels_of_one_and_three_dimensions_are_removed() -> None:
    """Signals and volumes are treated as maps are."""
    for conv, norm, size in ((nn.Conv1d, nn.BatchNorm1d, (2, 3, 9)), (nn.Conv3d, nn.BatchNorm3d, (2, 3, 5, 6, 7))):
        model = seeded(conv(3, 8, 3, padding=1), norm(8), nn.ReLU(), conv(8, 4, 1))
        model[0].weight.data[:5] = 0
        small = compact(model, torch.randn(size), kernels=DENSE)
        assert small.table.named("3").after.startswith("3→4")
        x = torch.randn(size)
        torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-5)


def test_parametrized_layers_become_plain_ones() -> None:
    """What a parametrization computes is a number like any other here."""
    model = seeded(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    nn.utils.parametrizations.weight_norm(model[0])
    with torch.no_grad():
        model[2].weight[:, :5] = 0
    small = reduced(model.eval())
    assert after(small) == ["3→3, 3×3", "3→4, 1×1"]
    assert type(small.body.get_submodule("0")) is nn.Conv2d


@pytest.mark.parametrize("variance", [1e-12, 0.0])
def test_a_tiny_variance_keeps_the_outputs(variance: float) -> None:
    """A norm with a huge scale is folded where that is equal, and stays where it is not."""
    model = seeded(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, eps=1e-12), nn.ReLU(), nn.Conv2d(8, 4, 1))
    model[1].running_var.fill_(variance)
    model[1].running_mean.fill_(0.3)
    reduced(model)


def test_a_norm_without_finite_scale_is_not_folded() -> None:
    """With no variance and no epsilon the model gives infinities, in the same places afterwards."""
    model = seeded(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, eps=0.0))
    model[1].running_var[0] = 0.0
    small = compact(model, torch.randn(1, 3, 4, 4), kernels=DENSE)
    assert small.table.named("1").after == "4"
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(model(x).isfinite(), small(x).isfinite())


@pytest.mark.parametrize("weight", [0.0, -0.0])
def test_a_model_that_ignores_its_input_keeps_its_shape(weight: float) -> None:
    """Zeros of either sign; an output of zeros is equal only to zeros."""
    for bias in (0.0, 0.5):
        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)).eval()
        for parameter in model.parameters():
            parameter.data.fill_(weight)
        model[2].bias.data.fill_(bias)
        small = compact(model, torch.randn(1, 3, 8, 8), kernels=DENSE)
        x = torch.randn(2, 3, 5, 9)
        assert torch.equal(model(x), small(x))
        assert after(small) == ["3→1, 3×3", "1→4, 3×3"]


def test_outputs_with_nan_stay_such() -> None:
    """NaN comes out where it came out before."""
    model = seeded(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    model[2].weight.data[0, 1] = torch.nan
    small = compact(model, torch.randn(1, 3, 4, 4), kernels=DENSE)
    assert after(small) == ["3→4, 1×1", "4→2, 1×1"]
    assert torch.equal(small(torch.ones(1, 3, 2, 2)).isnan(), model(torch.ones(1, 3, 2, 2)).isnan())
