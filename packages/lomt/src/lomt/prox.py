r"""Group lasso on the channels of convolutions: the penalty and its proximal operators.

A group holds the weights that read one input channel (or, on demand, those that make one output channel). The proximal
operator shrinks every group by the same length; a group shorter than that length becomes exactly zero. Under a diagonal
metric $D$, the preconditioner of Adam, the operator minimises another distance and has no closed form: one number per group
is the root of a scalar equation.

$$R(\theta) = \sum_g \lambda_g \lVert\theta^g\rVert_2, \qquad \lambda_g = \lambda\sqrt{N_g}$$

$$\operatorname{prox}_{\alpha R}(\theta^g) = \Big(1 - \frac{\alpha\lambda_g}{\lVert\theta^g\rVert_2}\Big)_{+} \theta^g$$

$$\operatorname*{arg\,min}_u \tfrac12 \sum_i D_i (u_i - \theta_i)^2 + \tau\lVert u\rVert_2 :\quad
u_i = \frac{\theta_i\, r}{r + \tau / D_i}, \quad \sum_i \frac{\theta_i^2}{(r + \tau / D_i)^2} = 1$$

Upadhyay et al., *Giving each task what it needs*, Eq. (1) and (3), with the threshold corrected (see the README, difference 1).
"""

import math

import torch
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from mtl_core.types import Float, Tensor

MOST_STEPS = 60
"""Newton needs about six steps; this many only where numbers are at the end of their type."""


def group_size(W: Float[Tensor, "out_channels in_channels *kernel"], group: str = "in", conv_groups: int = 1) -> int:
    """Number of weights in each group, $N_g$.

    Args:
        W: Weight of a convolution, `[C_out, C_in / conv_groups, *kernel]`.
        group: `"in"` or `"out"`.
        conv_groups: The convolution's own `groups`; as many as input channels make it depthwise.

    Examples:
        >>> import torch
        >>> group_size(torch.zeros(8, 4, 3, 3)), group_size(torch.zeros(8, 4, 3, 3), "out")
        (72, 36)
    """
    blocks = grouped(W, group, conv_groups)
    return blocks.shape[1] * blocks.shape[3]


@torch.no_grad()
def group_norms(
    W: Float[Tensor, "out_channels in_channels *kernel"], group: str = "in", conv_groups: int = 1
) -> Float[Tensor, " groups"]:
    r"""Euclidean norm of each group, $\lVert\theta^g\rVert_2$, in the order of the channels.

    Args:
        W: Weight of a convolution, `[C_out, C_in / conv_groups, *kernel]`.
        group: `"in"` or `"out"`.
        conv_groups: The convolution's own `groups`.

    Raises:
        ValueError: If `group` is another word, or `conv_groups` does not divide the output channels.

    Examples:
        >>> import torch
        >>> W = torch.tensor([[3.0, 0.0], [4.0, 1.0]]).reshape(2, 2, 1, 1)
        >>> group_norms(W), group_norms(W, "out")
        (tensor([5., 1.]), tensor([3.0000, 4.1231]))
    """
    return _norm(grouped(W, group, conv_groups)).flatten()


def penalty(
    W: Float[Tensor, "out_channels in_channels *kernel"], lambda_: float, group: str = "in", conv_groups: int = 1
) -> Float[Tensor, ""]:
    r"""The penalty of one convolution, $\sum_g \lambda\sqrt{N_g}\,\lVert\theta^g\rVert_2$.

    Args:
        W: Weight of a convolution.
        lambda_: $\lambda$.
        group: `"in"` or `"out"`.
        conv_groups: The convolution's own `groups`.

    Examples:
        >>> import torch
        >>> penalty(torch.tensor([3.0, 4.0]).reshape(2, 1, 1, 1), lambda_=2.0)
        tensor(14.1421)
    """
    lambda_g = lambda_ * math.sqrt(group_size(W, group, conv_groups))
    return (lambda_g * group_norms(W, group, conv_groups)).sum()  # Eq. (1)


@torch.no_grad()
def prox_group_lasso(
    W: Float[Tensor, "out_channels in_channels *kernel"],
    threshold: float | Float[Tensor, " groups"],
    group: str = "in",
    conv_groups: int = 1,
) -> Float[Tensor, "out_channels in_channels *kernel"]:
    r"""Shrink every group by `threshold`; groups no longer than that become zero.

    Args:
        W: Weight of a convolution, `[C_out, C_in / conv_groups, *kernel]`.
        threshold: $\tau = \alpha\lambda_g \ge 0$, one number or one per group.
        group: `"in"` or `"out"`.
        conv_groups: The convolution's own `groups`.

    Raises:
        ValueError: If `threshold` is negative or has another length, `group` is another word, or `conv_groups` does not
            divide the output channels.

    Examples:
        >>> import torch
        >>> prox_group_lasso(torch.tensor([3.0, 4.0]).reshape(2, 1, 1, 1), threshold=1.0).flatten()
        tensor([2.4000, 3.2000])
    """
    theta = grouped(W, group, conv_groups)
    norm = _norm(theta)
    tau = _threshold(threshold, norm)
    # A group of zeros stays zero: without the floor, a threshold of 0 would divide 0 by 0.
    floor = torch.finfo(W.dtype).tiny
    u = (1 - tau / norm.clamp(min=floor)).clamp(min=0)[:, None, :, None] * theta  # Eq. (3)
    return u.reshape(W.shape)


@torch.no_grad()
def prox_group_lasso_weighted(
    W: Float[Tensor, "out_channels in_channels *kernel"],
    D: Float[Tensor, "*shape"],
    threshold: float | Float[Tensor, " groups"],
    group: str = "in",
    conv_groups: int = 1,
) -> Float[Tensor, "out_channels in_channels *kernel"]:
    r"""Minimise $\tfrac12\sum_i D_i (u_i - \theta_i)^2 + \tau\lVert u\rVert_2$ over each group.

    Args:
        W: Weight of a convolution, $\theta$.
        D: Diagonal of the metric, positive, of the shape of `W`.
        threshold: $\tau = \alpha\lambda_g \ge 0$, one number or one per group.
        group: `"in"` or `"out"`.
        conv_groups: The convolution's own `groups`.

    Raises:
        ValueError: If `D` is not positive or not of the shape of `W`; else as `prox_group_lasso`.

    References:
        Deleu, Bengio, *Structured sparsity inducing adaptive optimizers for deep learning* (2021), for the equation of r.

    Examples:
        >>> import torch
        >>> theta, D = (torch.tensor(values).reshape(2, 1, 1, 1) for values in ([3.0, 4.0], [1.0, 2.0]))
        >>> prox_group_lasso_weighted(theta, D, threshold=1.0).flatten()
        tensor([2.4378, 3.5865])
    """
    if D.shape != W.shape:
        raise ValueError(f"`D` must have the shape of `W`, {list(W.shape)}. Got `D.shape = {list(D.shape)}`.")
    if not bool((D > 0).all()):
        raise ValueError(f"`D` must be positive. Got `D.min() = {D.min().item()}`.")
    theta, metric = grouped(W, group, conv_groups), grouped(D, group, conv_groups)
    tau = _threshold(threshold, theta[:, 0, :, 0])
    return shrink(theta, metric, tau).reshape(W.shape)


@torch.no_grad()
def shrink(
    theta: Float[Tensor, "blocks a groups b"],
    D: Float[Tensor, "blocks a groups b"],
    tau: Float[Tensor, "blocks groups"],
) -> Float[Tensor, "blocks a groups b"]:
    """`prox_group_lasso_weighted` for weights that are grouped already, without a check."""
    a = tau[:, None, :, None] / D
    r = _length(theta, D, a, tau)[:, None, :, None]
    scale = torch.div(r, a.add_(r), out=a)
    return scale.mul_(theta)  # Eq. (3) under the metric D


def _length(
    theta: Float[Tensor, "blocks a groups b"],
    D: Float[Tensor, "blocks a groups b"],
    a: Float[Tensor, "blocks a groups b"],
    tau: Float[Tensor, "blocks groups"],
) -> Float[Tensor, "blocks groups"]:
    r"""The length r of each group's minimiser: a factor $r / (r + \tau/D_i)$ shrinks each weight.

    With $S(r) = \sum_i \theta_i^2 / (r + \tau/D_i)^2$, the function $1 - 1/\sqrt{S}$ is convex, falling and nearly straight.
    From the norm of θ, which is never too short, Newton's first step leads to the other side of the root, or to it; from there
    on each step comes nearer from below, and none falls under the bound $(\lVert D\theta\rVert - \tau) / \max D$.
    """
    w = D * theta
    pull = _sum(w.square_()).sqrt()
    alive = pull > tau
    bound = torch.where(alive, (pull - tau) / D.amax(1).amax(-1), 1)
    r = torch.where(alive, _norm(theta), 1)
    close = torch.finfo(r.dtype).eps ** 0.5  # steps square the error
    steepness = torch.zeros_like(r)
    share = torch.empty_like(theta)
    for _ in range(MOST_STEPS):
        torch.add(a, r[:, None, :, None], out=w).reciprocal_()
        S = _sum(torch.mul(w, theta, out=share).square_())
        steepness = _sum(share.mul_(w))
        before, r = r, torch.where(alive, torch.maximum(r + S * (S.sqrt() - 1) / steepness, bound), 1)
        if bool(((r - before).abs() <= close * r).all()):
            break
    # Where next to nothing is left of a group, r is a small difference of large numbers: in float32 it would lose digits.
    faint = (pull > 0.999 * tau) & ((r * steepness < 0.1) | ~alive) & (tau > 0)
    r = torch.where(alive | (tau == 0), r, 0)  # without a threshold a group of zeros needs no factor of 0 / 0
    if r.dtype == torch.float32 and bool(faint.any()):
        few, metric = (x.transpose(1, 2)[faint].double().unsqueeze(2) for x in (theta, D))
        threshold = tau[faint].double()[:, None]
        r[faint] = _length(few, metric, threshold[:, :, None, None] / metric, threshold)[:, 0].to(r.dtype)
    return r


def grouped(
    W: Float[Tensor, "out_channels in_channels *kernel"], group: str, conv_groups: int
) -> Float[Tensor, "blocks a groups b"]:
    """A view in which a group is what the second and the last axis run over."""
    if group not in ("in", "out"):
        raise ValueError(f'`group` must be "in" or "out". Got `group = {group!r}`.')
    if conv_groups < 1 or len(W) % conv_groups:
        raise ValueError(f"`conv_groups` must divide the {len(W)} output channels. Got `conv_groups = {conv_groups}`.")
    if group == "out":
        return W.reshape(1, 1, len(W), -1)
    return W.reshape(conv_groups, len(W) // conv_groups, W.shape[1], -1)


def groups_of(layer: _ConvNd, group: str = "in") -> tuple[Tensor, str, int]:
    """Weight, axis of the groups and `conv_groups` of a convolution, as the functions here take them.

    The weight of a transposed convolution is stored with the input channels first, so there the two axes change places.

    Args:
        layer: The convolution.
        group: `"in"` or `"out"`, as the layer uses its channels.
    """
    if isinstance(layer, _ConvTransposeNd):
        group = "out" if group == "in" else "in"
    return layer.weight, group, layer.groups if group == "in" else 1


def _threshold(threshold: float | Tensor, like: Float[Tensor, "blocks groups"]) -> Float[Tensor, "blocks groups"]:
    tau = torch.as_tensor(threshold, dtype=like.dtype, device=like.device)
    if tau.ndim and tau.shape != (like.numel(),):
        raise ValueError(f"`threshold` must be a number, or one per group ({like.numel()}). Got {list(tau.shape)}.")
    if not bool((tau >= 0).all()):
        raise ValueError(f"`threshold` must be >= 0. Got `threshold = {threshold}`.")
    return tau.reshape(like.shape) if tau.ndim else tau.expand(like.shape)


def _sum(x: Float[Tensor, "blocks a groups b"]) -> Float[Tensor, "blocks groups"]:
    """Sum over each group; in two steps it is eight times as fast as over both axes at once."""
    return x.sum(1).sum(-1)


def _norm(x: Float[Tensor, "blocks a groups b"]) -> Float[Tensor, "blocks groups"]:
    return _sum(x.square()).sqrt()
