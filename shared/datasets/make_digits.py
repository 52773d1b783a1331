"""Make `digits`: scikit-learn's 1,797 handwritten digits in a fixed order.

python shared/datasets/make_digits.py
"""

import numpy as np
from embedded_file import write
from sklearn.datasets import load_digits

TEXT = """
digits: 1,797 handwritten digits, 8 x 8 pixels, grey values 0 to 16

Source:  Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, E. Alpaydin and C. Kaynak (1998),
         https://doi.org/10.24432/C50P49, test part, as it comes with scikit-learn (`sklearn.datasets.load_digits`).
Licence: Creative Commons Attribution 4.0 International (CC BY 4.0), https://creativecommons.org/licenses/by/4.0/
Changes: the order is shuffled (the original's follows the writers); the first 1,197 are the training part, the next 200
         the validation part, the last 400 the test part.
Made by: shared/datasets/make_digits.py

images  uint8 [1797, 8, 8], 0 (paper) to 16 (ink)
labels  uint8 [1797], 0 to 9
"""


def make() -> dict[str, np.ndarray]:
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return {"images": digits.images[order].astype(np.uint8), "labels": digits.target[order].astype(np.uint8)}


if __name__ == "__main__":
    write("digits", make(), TEXT)
