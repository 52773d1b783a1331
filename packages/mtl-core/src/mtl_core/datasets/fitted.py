"""A source at one size and number of channels: images of several data sets go through one network, and a batch needs one."""

import hashlib
from typing import Any

import torch

from mtl_core.collate import as_input, as_target
from mtl_core.datasets.geometry import cropped, resized
from mtl_core.types import Tensor


class Fitted:
    """Another source, each sample brought to one size when it is asked for.

    Args:
        source: Gives `(image, {task: target})`.
        size: Height and width. The image is interpolated, maps take the nearest pixel.
        channels: 1 or 3: grey images are tripled, colours are averaged; as they are without it.
        keep: How a sample of another form than `size` is brought to it: `stretch` changes the form; `pad` puts black and
            unlabelled pixels to the right and below, and changes nothing else (it must not be larger); `crop` scales the
            shorter side to that of `size` and takes the middle; `middle` takes the middle as it is.

    Raises:
        ValueError: If an argument is not usable.
    """

    def __init__(
        self, source: Any, size: tuple[int, int], *, channels: int | None = None, keep: str = "stretch"
    ) -> None:
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"`size` must be a positive height and width. Got `size = {size}`.")
        if channels not in (None, 1, 3):
            raise ValueError(f"`channels` must be 1 or 3. Got `channels = {channels}`.")
        if keep not in ("stretch", "pad", "crop", "middle"):
            raise ValueError(f"`keep` must be stretch, pad, crop or middle. Got `keep = {keep!r}`.")
        self.source, self.size, self.channels, self.keep = source, (size[0], size[1]), channels, keep

    @property
    def tasks(self) -> Any:
        """As the source says."""
        return self.source.tasks

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """A sample at the size asked for.

        Raises:
            ValueError: If it is larger than `size` and must be padded.
        """
        given, labels = self.source[index]
        image, targets = as_input(given), {name: as_target(target) for name, target in labels.items()}
        if self.channels is not None and len(image) != self.channels:
            image = image.expand(3, -1, -1) if self.channels == 3 else image.mean(0, keepdim=True)
        h, w = image.shape[-2:]
        if self.keep == "pad":
            if h > self.size[0] or w > self.size[1]:
                raise ValueError(
                    f"`size` must hold every sample to be padded. Got {[h, w]} in sample {index}, `size = {self.size}`."
                )
            return cropped(image, targets, (0, 0), self.size)
        if self.keep == "crop":
            scale = max(self.size[0] / h, self.size[1] / w)
            h, w = max(self.size[0], round(h * scale)), max(self.size[1], round(w * scale))
            image, targets = resized(image, targets, (h, w))
        if self.keep in ("crop", "middle"):
            return cropped(image, targets, ((h - self.size[0]) // 2, (w - self.size[1]) // 2), self.size)
        return resized(image, targets, self.size)

    def fingerprint(self) -> str:
        """A hash of the source's content and of what is done to it."""
        digest = hashlib.blake2b(f"{self.size}|{self.channels}|{self.keep}|{len(self)}|".encode(), digest_size=16)
        if hasattr(self.source, "fingerprint"):
            digest.update(str(self.source.fingerprint()).encode())
            return digest.hexdigest()
        for index in torch.linspace(0, len(self) - 1, min(8, len(self))).long().tolist():
            image, targets = self[index]
            for tensor in (image, *targets.values()):
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()
