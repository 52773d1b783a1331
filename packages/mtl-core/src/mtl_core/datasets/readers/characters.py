"""Omniglot as 20 tasks: the characters of 20 alphabets, a data set each, 105×105, ink 1.

Both folders are united. Of each character's 20 drawings 10 are to train, 4 to validate and 6 to test; which, is a shuffle
seeded by the alphabet's place among the 20.
"""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import numpy as np

from mtl_core.datasets.readers import decoding
from mtl_core.datasets.readers.reader import Files, Layout, Reader, Values
from mtl_core.task import classification
from mtl_core.types import Tensor

LAYOUT = Layout(
    "Omniglot",
    "images_background/ALPHABET/character01/0001_01.png\nimages_evaluation/ALPHABET/character01/...",
    "https://github.com/brendenlake/omniglot, or mtl_core.datasets.readers.download('omniglot', root)",
)

ALPHABETS = (
    "Gujarati", "Sylheti", "Arcadian", "Tibetan", "Old_Church_Slavonic_(Cyrillic)", "Angelic", "Malay_(Jawi_-_Arabic)",
    "Sanskrit", "Cyrillic", "Anglo-Saxon_Futhorc", "Syriac_(Estrangelo)", "Ge_ez", "Japanese_(katakana)", "Keble", "Manipuri",
    "Alphabet_of_the_Magi", "Gurmukhi", "Korean", "Early_Aramaic", "Atemayar_Qelisayer",
)  # fmt: skip
"""The tasks, in the order that seeds the split."""

SHARES = {"train": (0.0, 0.5), "val": (0.5, 0.7), "test": (0.7, 1.0)}


def omniglot(root: str | PathLike[str], part: str = "train", *, alphabets: Iterable[str] = ALPHABETS) -> list[Reader]:
    """Read one part of Omniglot, a source for each alphabet.

    Args:
        root: The folder that holds `images_background` and `images_evaluation` (also below `omniglot-py`).
        part: `train`, `val` or `test`.
        alphabets: Some of `ALPHABETS`.

    Returns:
        The sources in the order of `alphabets`; `task_name` of the alphabet names its task.

    Raises:
        FileNotFoundError: If a folder or an alphabet is missing, or a character has no drawing.
        ValueError: If an argument is not usable.
    """
    folder = Path(root) / "omniglot-py" if (Path(root) / "omniglot-py").is_dir() else Path(root)
    if part not in SHARES:
        raise ValueError(f"`part` must be among {', '.join(SHARES)}. Got `part = {part!r}`.")
    wanted = list(alphabets)
    strange = [name for name in wanted if name not in ALPHABETS]
    if strange or not wanted:
        raise ValueError(f"`alphabets` must be among {', '.join(ALPHABETS)}. Got {strange or 'none'}.")
    LAYOUT.require(folder, "images_background", "images_evaluation")
    return [_alphabet(folder, name, part) for name in wanted]


def task_name(alphabet: str) -> str:
    """The alphabet's name with letters, digits, `_` and `-` only.

    Examples:
        >>> task_name("Malay_(Jawi_-_Arabic)")
        'Malay_Jawi_-_Arabic'
    """
    return "".join(letter for letter in alphabet if letter.isalnum() or letter in "_-")


def drawing(path: Path) -> Tensor:
    """A drawing of black ink on white as ink 1 on 0, `[1, h, w]`."""
    return 1 - decoding.image(path, channels=1)


def _alphabet(root: Path, alphabet: str, part: str) -> Reader:
    places = [f"{side}/{alphabet}" for side in ("images_background", "images_evaluation")]
    place = next((place for place in places if (root / place).is_dir()), None)
    if place is None:
        raise LAYOUT.lacks(root, f"There is no {alphabet!r} in either folder.")
    characters = sorted(path.name for path in (root / place).iterdir() if path.is_dir())
    # The generator of old: its numbers are the same in every version of numpy.
    shuffled = np.random.RandomState(ALPHABETS.index(alphabet))
    names, labels = [], []
    for number, character in enumerate(characters):
        files = sorted(path.name for path in (root / place / character).glob("*.png"))
        if not files:
            raise LAYOUT.lacks(root, f"There is no drawing in {str(root / place / character)!r}.")
        shuffled.shuffle(files)
        low, high = (round(share * len(files)) for share in SHARES[part])
        names += [f"{character}/{file}" for file in files[low:high]]
        labels += [number] * (high - low)
    if len(characters) < 2:
        raise LAYOUT.lacks(root, f"There are no two characters in {str(root / place)!r}.")
    task = classification(task_name(alphabet), len(characters))
    values = Values(root / place, np.array(labels, np.int64))
    return Reader(
        f"Omniglot {alphabet} {part}", names, Files(root / place, names, drawing), {task.name: values}, [task]
    )
