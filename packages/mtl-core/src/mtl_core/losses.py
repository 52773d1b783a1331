r"""Losses, element by element: `(prediction, target) -> (values, valid)`, first axis the sample.

A loss gives one value per element and the mask of what is labelled; `mtl_core.reduction` does every mean. What is not
labelled is taken out *before* the loss is computed, prediction and target alike: its value is 0 and its gradient
exactly zero, whatever stands there (0 · NaN would be NaN). Values are computed in float32 at least; a dense prediction
of another size is first resized to the target, bilinearly on logits.

| Function | Target | Not labelled | Unit |
|---|---|---|---|
| `cross_entropy` | class, int64 `[batch]` | −1 | nats |
| `segmentation_cross_entropy` | class, int64 `[batch, h, w]` | 255 | nats |
| `attribute_bce` | 0 or 1, float `[batch]` | NaN | nats |
| `balanced_bce` | 0 or 1, float `[batch, 1, h, w]` | NaN | weighted nats |
| `depth_l1`, `depth_l2` | metres, float `[batch, 1, h, w]` | 0 | metres, square metres |
| `normals_cosine` | unit vectors, float `[batch, 3, h, w]` | the zero vector | 1 − cosine |
| `regression_l1` | float `[batch, 1, h, w]` | NaN | that of the target |
"""

import torch
from torch.nn import functional

from mtl_core.resize import resize, upcast
from mtl_core.types import Bool, Float, Int, Tensor


def cross_entropy(
    prediction: Float[Tensor, "batch channels"], target: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, " batch"], Bool[Tensor, " batch"]]:
    r"""Cross-entropy of a classification, $-\log \operatorname{softmax}(\hat y)_y$ in nats; lower is better.

    Args:
        prediction: Logits, a channel per class.
        target: Classes from 0; −1 where not labelled.

    Examples:
        >>> values, valid = cross_entropy(torch.tensor([[0.0, 0.0], [5.0, 0.0]]), torch.tensor([1, -1]))
        >>> values, valid
        (tensor([0.6931, 0.0000]), tensor([ True, False]))
    """
    return _cross_entropy(upcast(prediction), target, target != -1)


def segmentation_cross_entropy(
    prediction: Float[Tensor, "batch channels _ _"], target: Int[Tensor, "batch h w"]
) -> tuple[Float[Tensor, "batch h w"], Bool[Tensor, "batch h w"]]:
    """Cross-entropy of each pixel in nats; lower is better.

    Args:
        prediction: Logits, a channel per class; resized to the target.
        target: Classes from 0; 255 where not labelled.
    """
    return _cross_entropy(resize(prediction, target.shape[-2:]), target, target != 255)


def attribute_bce(
    prediction: Float[Tensor, "batch 1"] | Float[Tensor, " batch"], target: Float[Tensor, " batch"]
) -> tuple[Float[Tensor, " batch"], Bool[Tensor, " batch"]]:
    """Binary cross-entropy of a logit in nats; lower is better.

    Args:
        prediction: Logits.
        target: 0 or 1; NaN where not labelled.

    Examples:
        >>> attribute_bce(torch.zeros(2, 1), torch.tensor([1.0, float("nan")]))
        (tensor([0.6931, 0.0000]), tensor([ True, False]))
    """
    return _bce(upcast(prediction).reshape(target.shape), target)


def balanced_bce(
    prediction: Float[Tensor, "batch 1 _ _"], target: Float[Tensor, "batch 1 h w"], pos_weight: float | None = None
) -> tuple[Float[Tensor, "batch 1 h w"], Bool[Tensor, "batch 1 h w"]]:
    r"""Class-balanced binary cross-entropy of each pixel, in weighted nats; lower is better.

    In an image with $n = n_+ + n_-$ labelled pixels a positive one weighs $n_-/n$ and a negative one $n_+/n$ (Xie and
    Tu, *Holistically-nested edge detection*, Eq. 2). So an image with only one of the two classes has the loss 0.

    Args:
        prediction: Logits; resized to the target.
        target: 0 or 1; NaN where not labelled.
        pos_weight: In (0, 1): weight of a positive pixel in every image, a negative one weighs `1 - pos_weight`.
            None takes the weights from each image.

    Raises:
        ValueError: If `pos_weight` lies outside (0, 1).

    Examples:
        >>> balanced_bce(torch.zeros(1, 1, 1, 4), torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]]))[0]
        tensor([[[[0.5199, 0.1733, 0.1733, 0.1733]]]])
    """
    if pos_weight is not None and not 0 < pos_weight < 1:
        raise ValueError(f"`pos_weight` must lie between 0 and 1. Got `pos_weight = {pos_weight}`.")
    values, valid = _bce(resize(prediction, target.shape[-2:]), target)
    positive = target > 0.5
    if pos_weight is None:
        n = valid.sum(dim=(1, 2, 3), keepdim=True)
        n_plus = positive.sum(dim=(1, 2, 3), keepdim=True)
        # An image without a label has no element to weigh; the floor keeps 0 / 0 out of it.
        share = n_plus.to(values.dtype) / n.clamp(min=1)
        return torch.where(positive, 1 - share, share) * values, valid
    return torch.where(positive, pos_weight, 1 - pos_weight) * values, valid


def depth_l1(
    prediction: Float[Tensor, "batch 1 _ _"], target: Float[Tensor, "batch 1 h w"]
) -> tuple[Float[Tensor, "batch 1 h w"], Bool[Tensor, "batch 1 h w"]]:
    """Absolute error of each pixel's depth in metres; lower is better.

    Args:
        prediction: Metres; resized to the target.
        target: Metres; 0 where not labelled.

    Examples:
        >>> depth_l1(torch.tensor([[[[1.5, 4.0]]]]), torch.tensor([[[[2.0, 0.0]]]]))
        (tensor([[[[0.5000, 0.0000]]]]), tensor([[[[ True, False]]]]))
    """
    difference, valid = _difference(resize(prediction, target.shape[-2:]), target, target > 0)
    return difference.abs(), valid


def depth_l2(
    prediction: Float[Tensor, "batch 1 _ _"], target: Float[Tensor, "batch 1 h w"]
) -> tuple[Float[Tensor, "batch 1 h w"], Bool[Tensor, "batch 1 h w"]]:
    """Squared error of each pixel's depth in square metres; lower is better.

    Args:
        prediction: Metres; resized to the target.
        target: Metres; 0 where not labelled.
    """
    difference, valid = _difference(resize(prediction, target.shape[-2:]), target, target > 0)
    return difference.square(), valid


def normals_cosine(
    prediction: Float[Tensor, "batch 3 _ _"], target: Float[Tensor, "batch 3 h w"], shortest: float = 1e-3
) -> tuple[Float[Tensor, "batch h w"], Bool[Tensor, "batch h w"]]:
    r"""One minus the cosine of the angle between two normals, in [0, 2]; lower is better.

    $$1 - \frac{\langle \hat n, n\rangle}{\|\hat n\|\,\|n\|}$$

    Args:
        prediction: Vectors of any length; resized to the target, then normalised.
        target: Unit vectors, camera frame; the zero vector where not labelled.
        shortest: Predictions shorter than this are divided by it instead of by their length: the gradient grows as
            1 / length, and a head that gives exactly 0 (a zero initial weight) would have an infinite one.

    Examples:
        >>> up, right = [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]
        >>> prediction = torch.tensor([up, up]).reshape(2, 3, 1, 1) * 7
        >>> normals_cosine(prediction, torch.tensor([up, right]).reshape(2, 3, 1, 1))[0].flatten()
        tensor([0., 1.])
    """
    prediction = resize(prediction, target.shape[-2:])
    target = target.to(prediction.dtype)
    length = target.square().sum(dim=1).sqrt()  # 30 times faster on a CPU than vector_norm over a short inner axis
    valid = length > 0
    prediction = torch.where(valid[:, None], prediction, 0.0)
    predicted_length = prediction.square().sum(dim=1).clamp(min=shortest**2).sqrt()
    cosine = (prediction * target).sum(dim=1) / (predicted_length * torch.where(valid, length, 1.0))
    return torch.where(valid, 1 - cosine, 0.0), valid


def regression_l1(
    prediction: Float[Tensor, "batch 1 _ _"], target: Float[Tensor, "batch 1 h w"]
) -> tuple[Float[Tensor, "batch 1 h w"], Bool[Tensor, "batch 1 h w"]]:
    """Absolute error of each pixel, in the target's unit; lower is better.

    Args:
        prediction: Values; resized to the target.
        target: Values; NaN where not labelled.
    """
    difference, valid = _difference(resize(prediction, target.shape[-2:]), target, ~target.isnan())
    return difference.abs(), valid


def _cross_entropy(prediction: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    prediction = torch.where(valid[:, None], prediction, 0.0)
    values = functional.cross_entropy(prediction, torch.where(valid, target, 0), reduction="none")
    return torch.where(valid, values, 0.0), valid


def _bce(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    valid = ~target.isnan()
    prediction = torch.where(valid, prediction, 0.0)
    target = torch.where(valid, target, 0.0).to(prediction.dtype)
    values = functional.binary_cross_entropy_with_logits(prediction, target, reduction="none")
    return torch.where(valid, values, 0.0), valid


def _difference(prediction: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    zero = prediction.new_zeros(())
    return torch.where(valid, prediction, zero) - torch.where(valid, target.to(prediction.dtype), zero), valid
