"""Targets from what a camera saw: corners, and facts about the whole image."""

import numpy as np
from scipy.ndimage import gaussian_filter

from mtl_core.datasets.rooms import ATTRIBUTES
from rooms_maker.camera import View
from rooms_maker.catalogue import CLASS
from rooms_maker.room import Room

VISIBLE = 0.01  # part of the image that a thing must cover to count
LARGE = 22.0  # square metres
NEAR = 1.5  # metres


def keypoints(image: np.ndarray, sigma: float = 1.0, gain: float = 10.0) -> np.ndarray:
    """Give how much each pixel of the noise-free image is like a corner, 0 to 1.

    The harmonic mean of the two eigenvalues of the structure tensor A, `det A / trace A`, is large only where the grey
    value changes in both directions (Harris and Stephens' measure, without their constant). Its root is in units of the
    gradient; `gain` brings it to 0 to 1.
    """
    grey = image @ np.array([0.299, 0.587, 0.114])
    down, right = np.gradient(grey)
    xx, yy, xy = (gaussian_filter(product, sigma) for product in (right * right, down * down, right * down))
    corner = np.maximum(xx * yy - xy * xy, 0) / (xx + yy + 1e-8)
    return np.clip(gain * np.sqrt(corner), 0, 1)


def attributes(room: Room, view: View) -> np.ndarray:
    """Tell which of `ATTRIBUTES` are true of an image."""
    share = np.bincount(view.label.ravel(), minlength=256)[: len(CLASS)] / view.label.size
    chairs = np.unique(view.instance[view.label == CLASS["chair"]], return_counts=True)[1]
    near = (view.label >= CLASS["bed"]) & (view.depth < NEAR)
    facts = {
        "sees_ceiling": share[CLASS["ceiling"]] > VISIBLE,
        "three_chairs": (chairs > 0.0025 * view.label.size).sum() >= 3,
        "large_room": room.size[0] * room.size[1] > LARGE,
        "wooden_floor": room.floor == "planks",
        "near_object": near.mean() > 0.05,
    }
    facts |= {f"has_{kind}": share[CLASS[kind]] > VISIBLE for kind in CLASS if f"has_{kind}" in ATTRIBUTES}
    return np.array([facts[name] for name in ATTRIBUTES], dtype=np.uint8)
