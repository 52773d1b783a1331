r"""Class-activation maps where a decoder takes its features (Figure 3).

With features $A$ of the task's layer and the score $y$ of what was predicted,

$$M = \operatorname{relu}\Big(\sum_k \alpha_k A_k\Big), \qquad
\alpha_k = \frac{1}{hw}\sum_{ij} \frac{\partial y}{\partial A_{kij}}$$

Selvaraju et al., *Grad-CAM: visual explanations from deep networks via gradient-based localization*, 2017.
"""

import torch
from torch import Tensor, nn

from mtl_core import SharedBackbone
from mtl_core.cut import OUTPUT
from mtl_core.resize import resize
from mtl_core.types import Float


def grad_cam(
    model: nn.Module, inputs: Float[Tensor, "batch channels h w"], task: str, channel: int | None = None
) -> Float[Tensor, "batch h w"]:
    """Where a task's decoder looks: Grad-CAM at its layer; at the backbone's output for a task without one.

    Args:
        model: A `SharedBackbone`; its mode is as before afterwards.
        inputs: Images.
        task: The task.
        channel: Channel of the prediction that is the score, its mean over the positions for a map. Default: of an image-level
            task with several classes the predicted class of each image, else all channels together.

    Returns:
        A map for each image, of its size, from 0 to 1; all 0 where nothing speaks for the score.

    Raises:
        ValueError: If the task is not the model's, its features are no map, or there is no such channel.
        TypeError: If the model is not a `SharedBackbone`.
    """
    if not isinstance(model, SharedBackbone):
        raise TypeError(f"`model` must be a `SharedBackbone`. Got `{type(model).__name__}`.")
    if task not in model.tasks:
        raise ValueError(f"`task` must be among {list(model.tasks)}. Got `task = {task!r}`.")
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.enable_grad():
            found = model.backbone(inputs)
            features = found[model.taps.get(task, OUTPUT)] if isinstance(found, dict) else found
            if features.ndim != 4:
                raise ValueError(f"`task` must take a map of features. Got `{task}`, whose have {features.ndim} axes.")
            features = features.detach().requires_grad_(True)
            prediction = model.heads[task](features)
            (gradient,) = torch.autograd.grad(_score(prediction, model.tasks[task].dense, channel).sum(), features)
    finally:
        for module, mode in modes:
            module.training = mode
    alpha = gradient.mean((2, 3), keepdim=True)
    maps = (alpha * features.detach()).sum(1, keepdim=True).relu()
    maps = resize(maps, inputs.shape[-2:])[:, 0]
    highest = maps.amax((1, 2), keepdim=True)
    return maps / highest.clamp(min=torch.finfo(maps.dtype).tiny)


def _score(prediction: Tensor, dense: bool, channel: int | None) -> Tensor:
    values = prediction.flatten(2).mean(2) if dense else prediction.reshape(len(prediction), -1)
    if channel is not None:
        if not 0 <= channel < values.shape[1]:
            raise ValueError(f"`channel` must be from 0 to {values.shape[1] - 1}. Got `channel = {channel}`.")
        return values[:, channel]
    return values.sum(1) if dense or values.shape[1] == 1 else values.amax(1)
