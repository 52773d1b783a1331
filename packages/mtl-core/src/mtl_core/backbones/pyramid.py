"""Any network of timm as a backbone, through its feature pyramid. timm is not a dependency: `pip install timm`."""

from typing import Any

from torch import Tensor, nn

from mtl_core.backbones.normalize import Normalization, input_normalization
from mtl_core.backbones.weights import Weights, load_weights
from mtl_core.types import Float


class Pyramid(nn.Module):
    """One level of a timm network's feature pyramid; `from_timm()` makes one.

    Args:
        name: Name of the network, as `timm.list_models()` has it.
        level: Which map: 0 is the finest, -1 the coarsest.
        in_channels: Channels of the images.
        normalize: Mean and standard deviation of each input channel, kept as first submodule `normalize`.
        weights: File of safetensors to start from; default random. Nothing is downloaded.
        options: Passed to `timm.create_model`, for example `img_size` or `output_stride`.

    Attributes:
        channels: Channels of the features.

    Raises:
        ImportError: If timm is not installed.
        ValueError: If timm has no such network, or none with a pyramid; if `level` is none of its maps; if `weights` do not
            fit.
    """

    def __init__(
        self,
        name: str,
        *,
        level: int = -1,
        in_channels: int = 3,
        normalize: Normalization | None = None,
        weights: Weights | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        try:
            import timm
        except ImportError as error:
            raise ImportError("`from_timm` needs timm: `pip install timm`.") from error
        self.normalize = input_normalization(normalize, in_channels)
        options = {"features_only": True, "pretrained": False, "in_chans": in_channels, **options}
        try:
            body: Any = timm.create_model(name, **options)
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            raise ValueError(
                f"`name` must be a network of timm with a feature pyramid. Got `name = {name}`: {error}."
            ) from error
        levels: list[int] = body.feature_info.channels()
        if not -len(levels) <= level < len(levels):
            raise ValueError(f"`level` must be one of {len(levels)} maps. Got `level = {level}`.")
        self.body, self.level = body, level
        self.channels = levels[level]
        # Some networks keep channels last.
        self.channels_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        load_weights(self, weights)

    def forward(self, images: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Features of a batch of images, `[batch, channels, h, w]`."""
        features = self.body(self.normalize(images))[self.level]
        return features.permute(0, 3, 1, 2) if self.channels_last else features


def from_timm(
    name: str,
    *,
    level: int = -1,
    in_channels: int = 3,
    normalize: Normalization | None = None,
    weights: Weights | None = None,
    **options: Any,
) -> Pyramid:
    """One level of a timm network's feature pyramid as a backbone. Arguments and errors as for the class `Pyramid`."""
    return Pyramid(name, level=level, in_channels=in_channels, normalize=normalize, weights=weights, **options)
