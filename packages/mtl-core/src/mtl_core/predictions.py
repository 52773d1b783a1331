"""Pictures of predictions beside the truth.

Samples are tensors by name: `input/<source>`, `truth/<source>/<task>` and `prediction/<source>/<model>/<task>`, with classes
and probabilities, not logits (`mtl_core.comparison.take_samples`). What a target does not label stays white.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from mtl_core.plots import INK, SOFT, canvas

# Ordered so that neighbours differ in lightness, too: the first eight are Okabe and Ito's, the others theirs lighter or
# darker. A class map of more than 24 classes begins again.
CLASS_COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#F0E442", "#56B4E9", "#D55E00", "#CC79A7", "#3A3A3A"),
    *("#A6CEE3", "#7A4B00", "#B2DF8A", "#6A3D9A", "#FDC9A0", "#004D40", "#FFB3C6", "#8C8C8C"),
    *("#003A5C", "#C9B458", "#4FB89B", "#8B1E3F", "#C5B0D5", "#5C4033", "#DADADA", "#7F7F1A"),
)


def predictions(samples: Mapping[str, Tensor], report: Mapping[str, Any]) -> dict[str, Any]:
    """Draw a few test samples with truth and predictions: one figure per dense task, one for all image-level tasks.

    Args:
        samples: As `mtl_core.comparison.take_samples` gives them.
        report: `tasks` tells how a task is drawn.

    Returns:
        Figures by file name; each has its caption as label.
    """
    tasks = report.get("tasks", {})
    found = {}
    for task, (_, dense, _, kind) in tasks.items():
        sources = [key.split("/")[1] for key in samples if key.startswith("truth/") and key.endswith(f"/{task}")]
        if dense and sources and samples[f"input/{sources[0]}"].ndim == 4:
            found[f"predictions_{task}"] = _maps(samples, sources[0], task, kind)
    plain = [task for task, facts in tasks.items() if not facts[1]]
    images = _images(samples, plain)
    return found | ({"predictions_images": images} if images is not None else {})


def _maps(samples: Mapping[str, Tensor], source: str, task: str, kind: str) -> Any:
    """Rows are samples; columns are input, truth and each model's prediction."""
    truth = samples[f"truth/{source}/{task}"].numpy()
    columns = {"truth": truth, **_predicted(samples, source, task)}
    inputs = samples[f"input/{source}"].numpy()
    shape = inputs.shape[2] / inputs.shape[3]
    width = 6.4
    figure, axes = canvas(len(inputs), 1 + len(columns), width=width, height=width / (1 + len(columns)) * shape + 0.08)
    for row, image in enumerate(inputs):
        _show(axes[row, 0], _image(image))
        known = _labelled(truth[row], kind)
        values = truth[row][..., known] if known.any() else truth[row]
        limits = float(values.min()), float(values.max())
        for place, maps in enumerate(columns.values(), 1):
            seen = known if place == 1 else np.ones_like(known)
            _show(axes[row, place], _coloured(maps[row], kind, limits, seen))
        if kind.endswith("metres"):
            axes[row, 0].set_ylabel(f"{limits[0]:.1f}–{limits[1]:.1f} m", fontsize=7, color=SOFT)
    for place, name in enumerate(["input", *columns]):
        axes[0, place].set_title(name, color=INK, fontsize=9)
    figure.set_label(f"{task}: {_legend(truth, kind)} Samples evenly spaced over the data, not chosen.")
    return figure


def _images(samples: Mapping[str, Tensor], tasks: list[str]) -> Any:
    """Rows are data sets; under each image the truth and what each model says."""
    sources = [key.split("/")[1] for key in samples if key.startswith("input/")]
    wanted = {s: [t for t in tasks if f"truth/{s}/{t}" in samples] for s in sources}
    wanted = {s: names for s, names in wanted.items() if names and samples[f"input/{s}"].ndim == 4}
    if not wanted:
        return None
    columns = max(len(samples[f"input/{s}"]) for s in wanted)
    heights = [_height(samples, s, names, 6.4 / columns) for s, names in wanted.items()]
    figure, axes = canvas(len(wanted), columns, height=max(heights))
    for axis in axes.flat:
        axis.set_axis_off()
    for row, (source, names) in enumerate(wanted.items()):
        for place, image in enumerate(samples[f"input/{source}"].numpy()):
            axis = axes[row, place]
            axis.set_axis_on()
            _show(axis, _image(image))
            axis.set_anchor("N")
            lines, right = _said(samples, source, names, place)
            axis.set_xlabel("\n".join(lines), fontsize=7, color=INK if right else "#B34700", linespacing=1.25)
        if len(names) == 1:
            axes[row, 0].set_title(names[0], color=INK, loc="left", fontsize=9)
    figure.set_label(
        "Truth and predictions of the image-level tasks; ✗ (orange): wrong. Samples evenly spaced over the data, not chosen."
    )
    return figure


def _height(samples: Mapping[str, Tensor], source: str, names: list[str], width: float) -> float:
    """Inches of a row: the image, its title and the lines under it."""
    lines = 1 + (len(_predicted(samples, source, names[0])) if len(names) == 1 else len(names))
    rows, columns = samples[f"input/{source}"].shape[2:]
    return min(width * 0.9 * rows / columns, 1.1) + 0.25 + 0.135 * lines


def _said(samples: Mapping[str, Tensor], source: str, names: list[str], place: int) -> tuple[list[str], bool]:
    """The lines under an image, and whether the first model is right in all of them."""
    right, rows = True, []
    for task in names:
        truth = float(samples[f"truth/{source}/{task}"][place])
        known = truth >= 0  # neither −1 nor NaN
        answers = {}
        for model, values in _predicted(samples, source, task).items():
            value = float(values[place])
            answers[model] = round(value)
            right = right and (not known or model != next(iter(answers)) or round(value) == truth)
        said = f"{truth:.0f}" if known else "?"
        marks = {m: "" if not known else " ✓" if a == truth else " ✗" for m, a in answers.items()}
        if len(names) == 1:
            return [f"truth {said}", *(f"{model} {answer}{marks[model]}" for model, answer in answers.items())], right
        rows.append(f"{task}: {said} | {' | '.join(f'{a}{marks[m]}' for m, a in answers.items())}")
    # Of many tasks some are wrong under every image: the marks say which, the colour would say nothing.
    return [" | ".join(["truth", *_predicted(samples, source, names[0])]), *rows], True


def _predicted(samples: Mapping[str, Tensor], source: str, task: str) -> dict[str, Any]:
    start = f"prediction/{source}/"
    keys = [key for key in samples if key.startswith(start) and key.split("/")[3] == task]
    found = {key.split("/")[2]: samples[key].numpy() for key in keys}
    return {name: found[name] for name in sorted(found, key=lambda name: name != "ours")}


def _show(axis: Any, image: Any) -> None:
    axis.imshow(image, interpolation="nearest", aspect="equal", vmin=0, vmax=1, cmap="gray")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color("#d5dae0")


def _image(image: Any) -> Any:
    return image.transpose(1, 2, 0).clip(0, 1) if len(image) == 3 else image[0].clip(0, 1)


def _labelled(truth: Any, kind: str) -> Any:
    """Which pixels of a target are labelled, `[h, w]`."""
    if truth.ndim == 2:
        return truth != 255
    if len(truth) == 1 and not kind.endswith("metres"):
        return ~np.isnan(truth[0])
    return np.abs(truth).sum(0) > 0


def _coloured(values: Any, kind: str, limits: tuple[float, float], labelled: Any) -> Any:
    """A map as colours, `[h, w, 3]`; white where it is not labelled."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if values.ndim == 2:
        picture = np.array([to_rgb(colour) for colour in CLASS_COLOURS])[values.astype(int) % len(CLASS_COLOURS)]
    elif len(values) == 3:
        picture = (values.transpose(1, 2, 0) + 1).clip(0, 2) / 2
    elif kind.endswith("metres"):
        picture = colormaps["viridis"]((values[0] - limits[0]) / max(limits[1] - limits[0], 1e-6))[..., :3]
    else:
        picture = np.repeat(np.nan_to_num(values[0]).clip(0, 1)[..., None], 3, axis=2)
    return np.where(labelled[..., None], picture, 1.0)


def _legend(truth: Any, kind: str) -> str:
    if truth.ndim == 3:
        return "a colour per class, white is not labelled."
    if truth.shape[1] == 3:
        return "x, y and z of the unit normal as red, green and blue, white is not labelled."
    if kind.endswith("metres"):
        return "dark is near, bright is far, one scale per row (its ends are given at the left), white is not labelled."
    return "black is 0, white is 1."
