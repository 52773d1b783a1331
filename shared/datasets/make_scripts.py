"""Make `scripts`: the characters of eight writing systems, 20 drawings of each. Rendered fonts, not handwriting.

    apt-get install fonts-noto-core
    python shared/datasets/make_scripts.py [--fonts FOLDER] [--drawings 20]

A drawing is a character of one of the script's fonts, drawn three times as large as wanted, moved, sheared and scaled,
bent by a smooth random field, and made small again.
"""

import argparse
from pathlib import Path

import numpy as np
from embedded_file import write
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, map_coordinates

SIZE = 28
OVERSAMPLING = 3
CANVAS = SIZE * OVERSAMPLING

CHARACTERS = {
    "armenian": "ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊ",
    "cyrillic": "АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЭЮЯ",
    "devanagari": "कखगघङचछजझञटठडढणतथदधनपफबभमयरल",
    "ethiopic": "ሀለሐመሠረሰሸቀበተቸነኘአከወዐዘዠየደጀገጠጨ",
    "georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭ",
    "greek": "αβγδεζηθικλμνξοπρστυφχψω",
    "hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "thai": "กขคฆงจฉชซญฎฐฑณดตถทธนบปผฝพฟ",
}
"""Letters only, without accents, final forms and letters that look the same."""

FAMILIES = {"greek": "", "cyrillic": ""}
"""Scripts whose letters are in Noto Sans and Noto Serif themselves; the others have families of their own name."""

TEXT = """
scripts: characters of eight writing systems, 28 x 28 pixels, {drawings} drawings of each.
RENDERED FONTS WITH DISTORTION, NOT HANDWRITING.

Source:  Noto fonts, Copyright 2010-2020 Google LLC, https://fonts.google.com/noto (Debian package fonts-noto-core),
         drawn with random shift, shear, scale and elastic distortion.
Licence: the fonts are under the SIL Open Font License 1.1, https://openfontlicense.org. The licence does not extend to
         what is drawn with a font; these drawings are under the licence of this package.
Made by: shared/datasets/make_scripts.py

SCRIPT              uint8 [characters, {drawings}, 28, 28], 0 (paper) to 255 (ink); of each character
                    the first half to train, the next fifth to validate, the rest to test
SCRIPT_characters   uint32 [characters], Unicode code points

{table}
"""


def fonts(folder: Path, script: str) -> list[str]:
    """Find the upright and bold fonts, with and without serifs, that a script has."""
    name = FAMILIES.get(script, script.capitalize())
    styles = ("Regular", "Bold", "Italic", "BoldItalic") if name == "" else ("Regular", "Bold")
    files = [folder / f"Noto{family}{name}-{style}.ttf" for family in ("Sans", "Serif", "Looped") for style in styles]
    return [str(file) for file in files if file.exists()]


def draw(font: str, character: str, rng: np.random.Generator) -> np.ndarray:
    """Draw one character at random: `[SIZE, SIZE]` uint8."""
    image = typeset(font, character, rng)
    image = image.transform(image.size, Image.Transform.AFFINE, affine(rng), Image.Resampling.BILINEAR)
    bent = gaussian_filter(bend(np.asarray(image, dtype=np.float32), rng), OVERSAMPLING / 3)
    small = bent.reshape(SIZE, OVERSAMPLING, SIZE, OVERSAMPLING).mean((1, 3))
    return np.clip(small * 1.15, 0, 255).round().astype(np.uint8)


def typeset(font: str, character: str, rng: np.random.Generator) -> Image.Image:
    """Put the character near the middle of the canvas, at most four fifths as large."""
    size = rng.uniform(0.72, 0.95) * CANVAS
    left, top, right, bottom = ImageFont.truetype(font, round(size)).getbbox(character)
    size *= min(1.0, 0.8 * CANVAS / max(right - left, bottom - top))
    face = ImageFont.truetype(font, round(size))
    left, top, right, bottom = face.getbbox(character)
    shift = rng.uniform(-0.06, 0.06, 2) * CANVAS
    corner = ((CANVAS - right - left) / 2 + shift[0], (CANVAS - bottom - top) / 2 + shift[1])
    image = Image.new("L", (CANVAS, CANVAS))
    ImageDraw.Draw(image).text(corner, character, 255, font=face)
    return image


def affine(rng: np.random.Generator) -> tuple[float, ...]:
    """Draw a random scale, shear and rotation around the middle, as PIL wants it."""
    matrix = np.eye(2) + rng.normal(0, 0.12, (2, 2))
    offset = np.full(2, CANVAS / 2) - matrix @ np.full(2, CANVAS / 2)
    return (*matrix[0], offset[0], *matrix[1], offset[1])


def bend(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move every pixel by a smooth random field of a few pixels."""
    field = [gaussian_filter(rng.normal(size=image.shape), 7) * 60 * rng.uniform(0.3, 1) for _ in range(2)]
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return map_coordinates(image, [rows + field[0], columns + field[1]], order=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts/truetype/noto"))
    parser.add_argument("--drawings", type=int, default=20, help="drawings of each character; a multiple of ten")
    options = parser.parse_args()
    arrays = {}
    for index, (script, characters) in enumerate(CHARACTERS.items()):
        rng = np.random.default_rng(index)
        files = fonts(options.fonts, script)
        if not files:
            raise SystemExit(f"No fonts of {script} in {options.fonts}: apt-get install fonts-noto-core")
        arrays[script] = np.stack(
            [
                [draw(files[rng.integers(len(files))], character, rng) for _ in range(options.drawings)]
                for character in characters
            ]
        )
        arrays[f"{script}_characters"] = np.array([ord(character) for character in characters], dtype=np.uint32)
        print(script, len(characters), "characters,", len(files), "fonts")
    table = "\n".join(
        f"{script:<11} {len(characters)} {' '.join(characters)}" for script, characters in CHARACTERS.items()
    )
    write("scripts", arrays, TEXT.format(drawings=options.drawings, table=table))


if __name__ == "__main__":
    main()
