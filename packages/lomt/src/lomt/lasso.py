r"""An optimizer with a group lasso: after each step the proximal step.

$$\theta_{n+1} \leftarrow \operatorname{prox}_{\alpha R}\big(\theta_n - \alpha\nabla L(\theta_n)\big)$$

The proximal operator is that of the step just made. For SGD the distance is Euclidean and $\alpha$ the learning rate. Adam
and AdamW divide the gradient by $D = \sqrt{\hat v} + \epsilon$, so there the distance is
$\tfrac12\sum_i D_i (u_i - \theta_i)^2$, and what is minimised is
$\langle \hat m, u\rangle + \tfrac{1}{2\alpha}(u-\theta)^\top D (u-\theta) + R(u)$. The penalty is never added to the loss
as well.

Upadhyay et al., *Giving each task what it needs*, Eq. (2).
"""

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lomt.prox import group_size, grouped, groups_of, prox_group_lasso, shrink

ADAM = (torch.optim.Adam, torch.optim.AdamW)


class GroupLasso:
    r"""Wraps any torch optimizer; its `step` is the optimizer's step and then the proximal one.

    Args:
        optimizer: A torch optimizer. With SGD (any momentum) the operator is the Euclidean one, with Adam and AdamW that of
            their metric; with any other it is Euclidean, and a warning says so.
        params: What the penalty is on: convolutions, or weights of convolutions without `groups`. A weight that got no
            gradient in a step is left alone, as the optimizer leaves it alone.
        lambda_: $\lambda \ge 0$; the threshold of a group of $N_g$ weights is $\alpha\lambda\sqrt{N_g}$.
        group: `"in"`: the weights that read one input channel; `"out"`: those that make one output channel.

    Raises:
        ValueError: If `lambda_` is not usable, `group` is another word, or a weight is not in the optimizer.
        TypeError: If the optimizer is not torch's, or something in `params` is neither a convolution nor a weight of one.

    Examples:
        >>> layer = nn.Conv2d(2, 1, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([3.0, 0.1]).reshape(1, 2, 1, 1))
        >>> optimizer = GroupLasso(torch.optim.SGD([layer.weight], lr=0.5), [layer], lambda_=1.0)
        >>> (0 * layer.weight.sum()).backward()
        >>> optimizer.step()
        >>> layer.weight.flatten().tolist()
        [2.5, 0.0]
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        params: Iterable[nn.Module | Tensor],
        lambda_: float = 1e-3,
        *,
        group: str = "in",
    ) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"`optimizer` must be a torch optimizer. Got `{type(optimizer).__name__}`.")
        if not (lambda_ >= 0 and math.isfinite(lambda_)):
            raise ValueError(f"`lambda_` must be >= 0 and finite. Got `lambda_ = {lambda_}`.")
        if group not in ("in", "out"):
            raise ValueError(f'`group` must be "in" or "out". Got `group = {group!r}`.')
        if not isinstance(optimizer, (*ADAM, torch.optim.SGD)):
            warnings.warn(
                f"The proximal step after {type(optimizer).__name__} is the Euclidean one: of its metric nothing is known.",
                stacklevel=2,
            )
        self._optimizer, self._lambda, self._group = optimizer, float(lambda_), group
        self._layers: dict[int, tuple[Tensor, str, int]] = {}
        for item in params:
            weight, axis, conv_groups = _weight_of(item, group)
            self._layers.setdefault(id(weight), (weight, axis, conv_groups))
        inside = {id(p) for g in optimizer.param_groups for p in g["params"]}
        if not self._layers.keys() <= inside:
            raise ValueError("`params` must be trained by `optimizer`. Got a weight that is in none of its groups.")

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups: a schedule that changes their learning rate changes the threshold with it."""
        return self._optimizer.param_groups

    def settings(self) -> dict[str, Any]:
        """What a stored training is recognised by, besides the groups."""
        return {"optimizer": type(self._optimizer).__name__, "lambda": self._lambda, "group": self._group}

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state; the proximal step has none."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._optimizer.load_state_dict(state_dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self) -> None:
        """The optimizer's step, then the proximal step of every penalised weight that has a gradient."""
        self._optimizer.step()
        for weight, settings in self._stepped():
            _, group, conv_groups = self._layers[id(weight)]
            alpha = float(settings["lr"])
            tau = alpha * self._lambda * math.sqrt(group_size(weight, group, conv_groups))
            if isinstance(self._optimizer, ADAM):
                D = _metric(self._optimizer.state[weight], settings)
                theta, metric = (grouped(x, group, conv_groups) for x in (weight, D))
                new = shrink(theta, metric, theta.new_full((len(theta), theta.shape[2]), tau))
            else:
                new = prox_group_lasso(weight, tau, group, conv_groups)
            weight.copy_(new.view_as(weight))  # Eq. (2)

    def _stepped(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        for settings in self._optimizer.param_groups:
            yield from ((p, settings) for p in settings["params"] if id(p) in self._layers and p.grad is not None)


def _metric(state: dict[str, Any], settings: dict[str, Any]) -> Tensor:
    r"""Adam's preconditioner in its last step, $D = \sqrt{\hat v} + \epsilon$, bias-corrected as the step itself was."""
    v = state["max_exp_avg_sq"] if settings["amsgrad"] else state["exp_avg_sq"]
    correction = 1 - settings["betas"][1] ** float(state["step"])
    return (v / correction).sqrt_().add_(settings["eps"] or torch.finfo(v.dtype).tiny)


def _weight_of(item: nn.Module | Tensor, group: str) -> tuple[Tensor, str, int]:
    if isinstance(item, Tensor) and item.ndim >= 2:
        return item, group, 1
    if isinstance(item, _ConvNd):
        return groups_of(item, group)
    raise TypeError(f"`params` must be convolutions or weights of convolutions. Got `{type(item).__name__}`.")
