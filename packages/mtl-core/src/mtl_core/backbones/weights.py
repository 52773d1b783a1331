"""Weights for a backbone from a file of safetensors: torchvision's, once converted, or one's own.

A file of torchvision's weights is made by `shared/convert_weights.py` of the repository, on a machine that may download.
"""

from os import PathLike
from pathlib import Path
from typing import TypeAlias

from torch import nn

from mtl_core.checkpoint import StorageError
from mtl_core.storage import read
from mtl_core.stored import check_module

Weights: TypeAlias = str | PathLike[str]
"""Path of a file of safetensors that holds a backbone's parameters and buffers."""


def load_weights(backbone: nn.Module, weights: Weights | None) -> None:
    """Give a backbone the weights of a file; nothing happens without one.

    Args:
        backbone: Takes them. Its `normalize`, which is set by an argument, keeps its own numbers.
        weights: The file: exactly the backbone's parameters and buffers, with their shapes.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it cannot be read, or does not fit the backbone.
    """
    if weights is None:
        return
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"`weights` must be a file of safetensors. Got `{path}`, which is not there: nothing is downloaded; "
            "`shared/convert_weights.py` of the repository writes torchvision's weights into such a file."
        )
    own = {name: tensor for name, tensor in backbone.state_dict().items() if not name.startswith("normalize.")}
    normalize = {name: tensor for name, tensor in backbone.state_dict().items() if name not in own}
    try:
        tensors = {**read(path).unpacked({name: tuple(t.shape) for name, t in own.items()}), **normalize}
        check_module(tensors, backbone, "weights")
    except (StorageError, ValueError) as error:
        raise ValueError(
            f"`weights` must hold this backbone's weights. Got `{path}`: {error}. A file of torchvision's own names is "
            "made to fit by `shared/convert_weights.py`; width, channels of the images and options must agree."
        ) from error
    backbone.load_state_dict(tensors)
