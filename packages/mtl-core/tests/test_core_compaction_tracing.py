"""What compaction can trace, what it takes as one step, and what it refuses by name."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_core.compaction import Kernels, compact

DENSE = Kernels()


def check(model: nn.Module, *sizes: tuple[int, ...]) -> Any:
    """Compact for the first size and compare at all."""
    small = compact(model.eval(), torch.randn(sizes[0]), kernels=DENSE)
    with torch.no_grad():
        for size in sizes:
            x = torch.randn(size)
            a, b = model(x.clone()), small(x.clone())
            assert (a - b).abs().max() <= 1e-5 * a.abs().max()
    return small


class Bypass(nn.Module):
    """A step in place on a value that is read again afterwards."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.how, self.relu, self.same = nn.Conv2d(3, 4, 1), how, nn.ReLU(inplace=True), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.how == "module":
            return x + self.relu(x)
        if self.how == "function":
            return x + F.relu(x, True)
        if self.how == "method":
            return x + x.clamp_(min=0.1)
        if self.how == "torch":
            return x + torch.sigmoid_(x)
        if self.how == "alias":
            return x + self.relu(self.same(x))
        if self.how == "sum":
            y = x
            y += 1.0
            return x * y
        y = x.flatten(2)
        y.mul_(2.0)
        return x.sum() + y.sum()


@pytest.mark.parametrize("how", ["module", "function", "method", "torch", "alias", "sum"])
def test_steps_in_place_keep_their_meaning(how: str) -> None:
    """Who reads a value after it was overwritten reads the new one, also under another name."""
    check(Bypass(how), (1, 3, 5, 5), (2, 3, 4, 7))


def test_a_change_seen_through_a_view_is_refused() -> None:
    """A reader of the whole cannot be handed a part."""
    with pytest.raises(ValueError, match="must not change in place what is read through a view afterwards"):
        compact(Bypass("view").eval(), torch.randn(1, 3, 5, 5))


def test_a_step_in_place_without_another_form_is_refused() -> None:
    """There is no function that fills a new tensor."""

    class Filled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 2).uniform_(0, 0)

    with pytest.raises(ValueError, match="must not change tensors in place by `uniform_`"):
        compact(Filled().eval(), torch.randn(1, 3))


class Branching(nn.Module):
    """A forward that looks at values, which torch.fx cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.sum() > 0 else self.conv(-x)


def test_a_submodule_that_cannot_be_traced_is_one_step() -> None:
    """It stays with all its channels; what surrounds it is compacted."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1), nn.Sequential(nn.ReLU(), Branching()), nn.Conv2d(4, 2, 1)
    )
    with torch.no_grad():
        model[0].weight[:5] = 0
        model[1].weight[:3] = 0
    small = check(model, (1, 3, 5, 5), (2, 3, 4, 7))
    assert [row.after for row in small.table] == ["3→3, 1×1", "3→4, 1×1", "4→4, 1×1", "4→2, 1×1"]


def test_a_model_whose_own_forward_cannot_be_traced_is_refused() -> None:
    """With the reason that torch.fx gives."""
    with pytest.raises(ValueError, match=r"must have a forward that torch.fx can trace.*control flow"):
        compact(Branching().eval(), torch.randn(1, 4, 5, 5))


def test_a_step_that_is_given_an_object_is_refused() -> None:
    """A graph holds tensors, numbers and strings."""

    class Scaled(nn.Module):
        def forward(self, x: Tensor, by: Any) -> Tensor:
            return x * by.number if x.sum() > 0 else x

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Scaled()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x, object())

    with pytest.raises(ValueError, match=r"must have a forward that torch.fx can trace"):
        compact(Outer().eval(), torch.randn(1, 3))


def test_arguments_with_defaults_keep_them() -> None:
    """Of None, of a number, of a flag."""

    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 2.0, flag: bool = True) -> Tensor:
            x = self.linear(x) * scale
            return x if mask is None and flag else x * 0

    check(Optional(), (2, 3), (5, 3))


def test_several_inputs_are_given_as_a_tuple() -> None:
    """In their order; numbers among them stay what they are."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.linear = nn.Embedding(7, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor, tokens: Tensor) -> dict[str, Tensor]:
            return {"sum": self.linear(x) + self.embedding(tokens)}

    model = Two().eval()
    inputs = (torch.randn(5, 3), torch.tensor([0, 6, 2, 3, 1]))
    small = compact(model, inputs)
    torch.testing.assert_close(small(*inputs)["sum"], model(*inputs)["sum"])


def test_a_buffer_that_scales_channels_is_cut_with_them() -> None:
    """Numbers for channels, computed from several buffers, as frozen norms have them."""

    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)
            self.register_buffer("scale", torch.rand(6))
            self.register_buffer("shift", torch.rand(6))

        def forward(self, x: Tensor) -> Tensor:
            scale = (self.scale + 1.0).view(1, -1, 1, 1)
            return self.last((self.first(x) * scale + self.shift.view(1, -1, 1, 1)).relu())

    model = Frozen()
    model.last.weight.data[:, :4] = 0
    small = check(model, (1, 3, 5, 5), (2, 3, 4, 7))
    assert small.table.named("first").after == "3→2, 1×1"


def test_a_forward_that_uses_the_number_of_channels_keeps_them() -> None:
    """A mean over channels by hand would be another one with fewer of them."""

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last(x) / x.shape[1]

    model = Counted()
    model.last.weight.data[:, :4] = 0
    assert check(model, (1, 3, 5, 5)).table.named("first").after == "3→6, 1×1"


@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_are_refused(hook: str) -> None:
    """Their effect would be lost, and they would be called for a model that is not the caller's."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval()
    getattr(model[0], hook)(lambda *_: None)
    with pytest.raises(ValueError, match=r"must have no forward hooks.*Got one on `0`"):
        compact(model, torch.randn(1, 3, 4, 4))


def test_training_mode_is_refused() -> None:
    """Also of a single submodule."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    model[1].train()
    with pytest.raises(ValueError, match=r"must be in evaluation mode.*Got training mode in `1`"):
        compact(model, torch.randn(1, 3, 4, 4))


def test_half_precision_is_refused() -> None:
    """It has too few digits to be held to 1e-5."""
    with pytest.raises(TypeError, match=r"must be in float32 or float64. Got torch.bfloat16 in `weight`"):
        compact(nn.Linear(3, 2).bfloat16().eval(), torch.randn(1, 3))


@pytest.mark.parametrize("example", [None, 3, [], {"x": 1}])
def test_an_example_without_a_tensor_is_refused(example: Any) -> None:
    """There is nothing to trace with."""
    with pytest.raises(TypeError, match="`example` must be a tensor"):
        compact(nn.Linear(3, 2).eval(), example)


def test_what_is_no_module_is_refused() -> None:
    """A function has no layers."""
    with pytest.raises(TypeError, match="`model` must be a module"):
        compact(torch.relu, torch.randn(1, 3))


def test_inputs_that_do_not_fit_are_refused() -> None:
    """Too many, or of no fixed number."""

    class Any_(nn.Module):
        def forward(self, *x: Tensor) -> Tensor:
            return x[0]

    with pytest.raises(TypeError, match="`example` must fit the model's `forward"):
        compact(nn.Linear(3, 2).eval(), (torch.randn(1, 3), torch.randn(1, 3)))
    with pytest.raises(TypeError, match="must name the inputs of its `forward`"):
        compact(Any_().eval(), torch.randn(1, 3))


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    """The work is done on a copy."""
    model = nn.Linear(3, 2).eval()
    model.extra = model.weight * 2  # no leaf: torch refuses to copy it
    with pytest.raises(TypeError, match=r"that `copy.deepcopy` can copy"):
        compact(model, torch.randn(1, 3))


def test_a_model_that_is_no_function_of_its_input_is_refused() -> None:
    """Nothing can be said to equal it."""

    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand_like(x)

    with pytest.raises(ArithmeticError, match="must give the same outputs for the same inputs"):
        compact(Noisy().eval(), torch.randn(1, 3))


def test_unequal_outputs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal that goes wrong is seen, and named with its size."""
    from mtl_core.compaction import compaction

    def wrong(body: Any) -> dict[str, str]:
        body.get_submodule("0").weight.data.mul_(1.001)
        return {}

    monkeypatch.setattr(compaction, "remove_channels", wrong)
    with pytest.raises(
        ArithmeticError, match=r"equals it up to 1e-05 .* Got \d.\de-0[34]: the model is kept as it was"
    ):
        compact(nn.Sequential(nn.Conv2d(3, 4, 1)).eval(), torch.randn(1, 3, 4, 4))
