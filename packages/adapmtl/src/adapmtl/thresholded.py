r"""A model whose weights are seen through soft thresholds, one threshold for each component.

$$\alpha_c = \sigma(\theta_c), \qquad \theta_c = u_c + s(t)$$

$u_c$ is learned; the common level $s(t)$ is solved for, so that the overall sparsity is what was asked for (`adapmtl.level`).
The user's model is not changed: its weights are replaced for the time of a forward pass, and `bake` writes them into a copy.

Xiang et al., *AdapMTL: Adaptive pruning framework for multitask learning model*, Eq. (2).
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adapmtl.components import Groups, count_within, per_component, prunable, shares, weight_names
from adapmtl.level import HIGH, asked_sparsity, check_share, solve
from adapmtl.threshold import soft_threshold
from mtl_core.types import Float


class Thresholded(nn.Module):
    r"""A model whose weights are seen through soft thresholds; the model itself is not changed.

    The thresholded weights take the place of the model's own for the time of a forward pass only
    (`torch.func.functional_call`): no module is replaced, no hook is set.

    Args:
        model: Any module with `forward(inputs, tasks=None)` and `components()`.
        groups: Which layers share a threshold; layers in no group stay dense, and count as such.
        max_component: Largest share of its weights that a group may lose, in (0, 1]; or halfway between the asked
            sparsity and 1 where that is more. Without it a threshold that moves fast can empty a head for good.

    Attributes:
        u: What each group's threshold has learned, $u_c$, in the order of `names`; starts at 0.
        s: Level that all groups share, $s$; a buffer, set by `level` and `hold`.
        cap: Largest $\theta_c$ of each group; a buffer, refreshed by `level` and `hold`.
        names: Names of the groups that hold prunable weights.

    Raises:
        ValueError: If no weight can be pruned, two groups claim one weight, or `max_component` is out of its range.
    """

    def __init__(self, model: nn.Module, groups: Groups = per_component, *, max_component: float = 0.99) -> None:
        super().__init__()
        if not 0 < max_component <= 1:
            raise ValueError(f"`max_component` must be in (0, 1]. Got `max_component = {max_component}`.")
        self.max_component = max_component
        self._component = prunable(model)
        trainable = [name for name in self._component if model.get_parameter(name).requires_grad]
        owner: dict[str, str] = {}
        for group, modules in groups(model).items():
            for name in weight_names(model, modules):
                if name in trainable and owner.setdefault(name, group) != group:
                    raise ValueError(
                        f"`groups` must claim each weight once. Got `{name}` in `{owner[name]}` and `{group}`."
                    )
        if not owner:
            raise ValueError(
                "`model` must have a trainable weight of a convolution or linear layer, in a group. Got none."
            )
        self.names = tuple(dict.fromkeys(owner.values()))
        self._group = {name: self.names.index(group) for name, group in owner.items()}
        device = next(model.parameters()).device
        self.model = model
        self.u = nn.Parameter(torch.zeros(len(self.names), device=device))
        self.s: Tensor
        self.cap: Tensor
        self.register_buffer("s", torch.tensor(-20.0, device=device))  # dense: sigmoid(-20) = 2e-9
        self.register_buffer("cap", torch.full((len(self.names),), HIGH, device=device))  # none yet
        self._prepared: dict[str, Tensor] | None = None

    def alphas(self) -> Float[Tensor, " groups"]:
        r"""The threshold of each group, $\alpha_c$.

        Each is kept below the quantile of $|W_c|$ at which the group would lose more than `max_component`. The quantile is
        known as a level, like $\theta$ itself, and as of the last `level`: between two of them (ten steps) it moves by less
        than it matters. A group at its cap gets no gradient for $u_c$, so that $u_c$ does not run away meanwhile.
        """
        theta = self.u + self.s
        return torch.sigmoid(torch.minimum(theta, self.cap))

    def weights(self) -> dict[str, Tensor]:
        """The thresholded weights by name, $S(W, \\alpha)$; differentiable."""
        alphas = self.alphas().unbind()
        return {n: soft_threshold(self.model.get_parameter(n), alphas[c]) for n, c in self._group.items()}  # Eq. (2)

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Compute the thresholded weights once for all forward passes within; they share one graph, so one `backward`."""
        before = self._prepared
        self._prepared = self._current()
        try:
            yield
        finally:
            self._prepared = before

    def forward(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """Predictions of the model with its thresholded weights."""
        return torch.func.functional_call(self.model, self._current(), (inputs, tasks))

    def components(self) -> dict[str, Any]:
        """The components of the model."""
        return self.model.components()  # type: ignore[operator]

    @torch.no_grad()
    def center(self) -> None:
        """Take the mean over all weights from `u`: the common level is `s` alone, and stays where it was solved for."""
        sizes = torch.zeros_like(self.u)
        for name, group in self._group.items():
            sizes[group] += self.model.get_parameter(name).numel()
        self.u.sub_((self.u * sizes).sum() / sizes.sum())

    @torch.no_grad()
    def level(self, target: float) -> float:
        """Set the common level `s` so that the overall sparsity is `target`; refresh the caps.

        Met to 0.01 points, or to one weight where that is more. It is missed where weights of equal size leave no
        threshold between them, where weights are larger than 1 (alpha is a sigmoid), or where the caps forbid it.

        Args:
            target: Share of zeros among all prunable weights, in [0, 1).

        Returns:
            The overall sparsity that was reached.

        Raises:
            ValueError: If `target` is out of its range.
        """
        check_share("target", target)
        share = max(self.max_component, (1 + target) / 2)
        parameters = {name: self.model.get_parameter(name) for name in self._component}
        caps = self.cap.tolist()
        for c in range(len(self.names)):
            mine = [parameters[name] for name, group in self._group.items() if group == c]
            size = sum(W.numel() for W in mine)
            most = int(share * size + 1e-6)
            slack = int(min(0.005, (share - target) / 5) * size)

            def lost(theta: float, c: int = c, mine: Sequence[Tensor] = mine) -> int:
                alpha = torch.sigmoid(torch.full_like(self.u, theta))[c]
                return sum(count_within(mine, [alpha] * len(mine)))

            # Never above; a cap that is a little too low costs nothing, as long as the target stays within reach.
            caps[c], _ = solve(lost, most - slack, most, size, start=caps[c] if caps[c] < HIGH else -3.0)
        self.cap.copy_(torch.tensor(caps))

        size = sum(W.numel() for W in parameters.values())
        wanted, slack = round(target * size), size // 10_000

        found: dict[float, int] = {}

        def zeros(s: float) -> int:
            self.s.fill_(s)
            found[s] = sum(self._zeros())
            return found[s]

        solve(zeros, wanted - slack, wanted + slack, size, start=float(self.s))
        best = min(found, key=lambda s: (abs(found[s] - wanted), s))
        self.s.fill_(best)
        return found[best] / size

    def hold(self, asked: float, t: float, reach: float = 0.7) -> float:
        """Set the level to what the schedule asks for at the time `t`; see `asked_sparsity`.

        Returns:
            The overall sparsity that was reached.
        """
        return self.level(asked_sparsity(asked, t, reach))

    def sparsity(self) -> dict[str, float]:
        """Share of zeros by component, whatever the groups, and `overall`; components without prunable weights are left out."""
        sizes = [self.model.get_parameter(name).numel() for name in self._component]
        return shares(self._component.values(), self._zeros(), sizes)

    def _current(self) -> dict[str, Tensor]:
        # What was prepared without gradients would silently train nothing.
        usable = self._prepared is not None and (
            not torch.is_grad_enabled() or any(S.requires_grad for S in self._prepared.values())
        )
        return self._prepared if usable and self._prepared is not None else self.weights()

    def _zeros(self) -> list[int]:
        """Zeros of each prunable weight, in the order of `_component`."""
        alphas = [*self.alphas().detach().unbind(), torch.zeros((), device=self.u.device)]
        own = [alphas[self._group.get(name, -1)] for name in self._component]
        return count_within((self.model.get_parameter(name) for name in self._component), own)


def bake(model: Thresholded) -> nn.Module:
    """A copy of the wrapped model with the thresholded weights written into its plain layers.

    Args:
        model: The thresholded model; it is not changed.

    Returns:
        A model of the user's own class: same outputs, bit for bit, without thresholds.

    Raises:
        TypeError: If `model` has no thresholds.
    """
    if not isinstance(model, Thresholded):
        raise TypeError(f"`model` must be a `Thresholded`. Got `{type(model).__name__}`.")
    baked = copy.deepcopy(model.model)
    baked.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, S in model.weights().items():
            baked.get_parameter(name).copy_(S + 0.0)  # no -0.0: a saved file would hold the sign of every zero
    return baked


def sparsity(model: nn.Module) -> dict[str, float]:
    """Share of zeros among the prunable weights, by component and `overall`.

    Args:
        model: A baked or any plain model with `components()`; of a `Thresholded`, what it would be baked to is counted.

    Examples:
        >>> from mtl_core.task import attribute
        >>> from mtl_core.model import SharedBackbone
        >>> model = SharedBackbone(nn.Linear(2, 2), [attribute("a")], lambda c, t: nn.Linear(2, 1), example=torch.ones(1, 2))
        >>> _ = nn.init.eye_(model.backbone.weight)
        >>> sparsity(model)
        {'backbone': 0.5, 'head.a': 0.0, 'overall': 0.3333333333333333}
    """
    if isinstance(model, Thresholded):
        return model.sparsity()
    component = prunable(model)
    parameters = [model.get_parameter(name) for name in component]
    zeros = count_within(parameters, [torch.zeros((), device=W.device) for W in parameters])
    return shares(component.values(), zeros, (W.numel() for W in parameters))
