r"""Soft thresholds that are learned with the weights, one for each component of a multi-task model.

Every prunable weight is shrunk towards zero by the threshold of its component; what is not larger than the threshold
becomes exactly zero, gets no gradient, and is drawn on by the weight decay alone. The threshold's own gradient is what
the surviving weights ask for together.

$$S(W, \alpha) = \operatorname{sign}(W)\,\operatorname{relu}(|W| - \alpha), \qquad
\alpha_c = \sigma(\theta_c), \qquad \theta_c = u_c + s(t)$$

$$\frac{\partial L}{\partial W} = \frac{\partial L}{\partial S} \odot \mathbb 1[S \ne 0], \qquad
\frac{\partial L}{\partial \alpha_c} = -\sum \operatorname{sign}(W) \odot \mathbb 1[S \ne 0] \odot \frac{\partial L}{\partial S}$$

Xiang et al., *AdapMTL: Adaptive pruning framework for multitask learning model*, Eq. (2), (4), (5). The model that
carries thresholds is `adapmtl.thresholded`, and the common level $s(t)$, which is ours, `adapmtl.level`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_threshold(W: Tensor, alpha: Tensor | float) -> Tensor:
    r"""Shrink every weight towards zero by `alpha`; weights no larger than that become zero.

    Where $|W| = \alpha$, the result is zero and no gradient flows, neither to the weight nor to the threshold.

    Args:
        W: Weights, $W$, of any shape; floating point.
        alpha: Threshold, $\alpha \ge 0$; one value. (Checked on a CPU only: to look would stop another device.)

    Raises:
        TypeError: If `W` is not floating point.
        ValueError: If `alpha` is not one value, or is negative.

    Examples:
        >>> soft_threshold(torch.tensor([0.5, -0.2, 0.1]), torch.tensor(0.15))
        tensor([ 0.3500, -0.0500,  0.0000])
    """
    if not W.is_floating_point():
        raise TypeError(f"`W` must be floating point. Got `W.dtype = {W.dtype}`.")
    alpha = alpha if isinstance(alpha, Tensor) else torch.tensor(alpha, dtype=W.dtype, device=W.device)
    if alpha.numel() != 1:
        raise ValueError(f"`alpha` must be one value. Got `alpha.shape = {tuple(alpha.shape)}`.")
    if alpha.device.type == "cpu" and alpha.detach().item() < 0:
        raise ValueError(f"`alpha` must be >= 0. Got `alpha = {alpha.item()}`.")
    return _SoftThreshold.apply(W, alpha)


class _SoftThreshold(torch.autograd.Function):
    """Eq. (2), (4), (5) with the result as the one saved tensor, which the layer that uses it saves anyway."""

    @staticmethod
    def forward(W: Tensor, alpha: Tensor) -> Tensor:
        alpha = alpha.to(W.dtype)
        if W.device.type == "cpu":
            return F.softshrink(W, alpha.item())  # one pass; its threshold must be a number
        return W - W.clamp(-alpha, alpha)  # the same, without waiting for the device

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.alpha_like = inputs[1].shape, inputs[1].dtype

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (S,) = ctx.saved_tensors
        dW = dalpha = None
        if ctx.needs_input_grad[0]:
            dW = torch.ops.aten.softshrink_backward(upstream, S, 0.0)  # Eq. (4): upstream where S != 0, in one pass
        if ctx.needs_input_grad[1]:
            shape, dtype = ctx.alpha_like
            sums = torch.promote_types(S.dtype, torch.float32)  # millions of terms
            dalpha = -torch.dot(S.sign().reshape(-1).to(sums), upstream.reshape(-1).to(sums))  # Eq. (5)
            dalpha = dalpha.to(dtype).reshape(shape)
        return dW, dalpha
