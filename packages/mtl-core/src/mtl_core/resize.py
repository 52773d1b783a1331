"""Predictions are brought to the size of their targets, never targets to the size of predictions.

Losses and metrics see a dense prediction at the target's size: logits or values are resized bilinearly, in float32 at
least. A label map is never interpolated: between class 2 and class 4 there is no class 3.
"""

from collections.abc import Sequence

import torch

from mtl_core.types import Float, Tensor


def upcast(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Give `values` in float32 at least: half precision becomes float32, float64 stays.

    Examples:
        >>> upcast(torch.zeros(2, dtype=torch.bfloat16)).dtype, upcast(torch.zeros(2, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def resize(prediction: Float[Tensor, "batch channels _ _"], size: Sequence[int]) -> Float[Tensor, "batch channels h w"]:
    """Bring logits or values to `size`, bilinearly and in float32 at least.

    Args:
        prediction: Logits or values, not labels.
        size: Rows and columns of the target. A prediction of that size is given back as it is.

    Examples:
        >>> resize(torch.tensor([[[[0.0, 1.0]]]]), (1, 4))
        tensor([[[[0.0000, 0.2500, 0.7500, 1.0000]]]])
    """
    prediction = upcast(prediction)
    if tuple(prediction.shape[-2:]) == tuple(size):
        return prediction
    return torch.nn.functional.interpolate(prediction, size=list(size), mode="bilinear", align_corners=False)
