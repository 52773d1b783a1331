r"""Figures of a classification and of a binary attribute.

$$\text{accuracy} = \frac{\text{right}}{\text{labelled}}, \qquad F_1 = \frac{2\,TP}{2\,TP + FP + FN}$$
"""

from typing import ClassVar

import torch

from mtl_core.metrics.sums import Sums, ratio
from mtl_core.types import Float, Int, Tensor


class Accuracy(Sums):
    """Share of the labelled samples whose most probable class is the true one.

    `accuracy`: in [0, 1], higher is better; NaN where nothing was labelled (−1). Every sample counts the same, so a
    class that is absent has no part in it.

    Examples:
        >>> metric = Accuracy()
        >>> metric.update(torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 0.0]]), torch.tensor([0, 0, -1]))
        >>> metric.compute()
        {'accuracy': 0.5}
    """

    higher_is_better: ClassVar[dict[str, bool]] = {"accuracy": True}

    def __init__(self) -> None:
        super().__init__(right=torch.zeros((), dtype=torch.int64), labelled=torch.zeros((), dtype=torch.int64))

    def update(self, prediction: Float[Tensor, "batch channels"], target: Int[Tensor, " batch"]) -> None:
        """Add a batch of logits and classes."""
        valid = target != -1
        self._add(right=((prediction.argmax(dim=1) == target) & valid).sum(), labelled=valid.sum())

    def compute(self) -> dict[str, float]:
        """Give the figure over everything added so far."""
        return {"accuracy": ratio(self._sums["right"], self._sums["labelled"])}


class Attribute(Sums):
    """Accuracy and F1 of a binary attribute that is predicted where its probability exceeds one half.

    `accuracy` and `f1`: in [0, 1], higher is better; NaN where nothing was labelled (NaN). F1 is that of the value 1,
    and NaN where 1 is neither in the truth nor predicted: there is nothing to find, and nothing was found wrongly.

    Examples:
        >>> metric = Attribute()
        >>> metric.update(torch.tensor([[2.0], [1.0], [-1.0], [-3.0]]), torch.tensor([1.0, 0.0, 1.0, 0.0]))
        >>> metric.compute()
        {'accuracy': 0.5, 'f1': 0.5}
    """

    higher_is_better: ClassVar[dict[str, bool]] = {"accuracy": True, "f1": True}

    def __init__(self) -> None:
        super().__init__(confusion=torch.zeros(2, 2, dtype=torch.int64))

    def update(
        self, prediction: Float[Tensor, "batch 1"] | Float[Tensor, " batch"], target: Float[Tensor, " batch"]
    ) -> None:
        """Add a batch of logits and attributes, 0 or 1."""
        predicted = prediction.reshape(target.shape) > 0  # probability above .5
        # Row of the truth, column of the prediction; what is not labelled is in neither row.
        rows = torch.stack([target == 0, target == 1])
        columns = torch.stack([~predicted, predicted])
        self._add(confusion=(rows[:, None] & columns[None]).sum(dim=2))

    def compute(self) -> dict[str, float]:
        """Give the figures over everything added so far."""
        confusion = self._sums["confusion"]
        right, wrong = confusion.trace(), confusion[0, 1] + confusion[1, 0]
        return {"accuracy": ratio(right, right + wrong), "f1": ratio(2 * confusion[1, 1], 2 * confusion[1, 1] + wrong)}
