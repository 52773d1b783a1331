"""Running statistics of batch norms, estimated anew for the weights as they are.

A batch norm evaluates with running means of what it met in training. Where weights have changed since, above all where
pruning has made a channel nearly constant, these belong to other weights: a variance that has run down to nothing makes a
rare signal a thousand times too large.
"""

from dataclasses import replace

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mtl_core.components import evaluating, prepared
from mtl_core.data import Split


def estimate_norms(model: nn.Module, split: Split, *, batch_size: int, seed: int = 0) -> None:
    """Replace the running statistics of batch norms by means over one pass of the training data, without augmentation.

    Batches are mixed as in training; dropout is off. Norms that are in evaluation mode, as in a frozen part, keep theirs.

    Args:
        model: Changed in place; modes are as before afterwards.
        split: The training part of the data.
        batch_size: Samples per source, as in training.
        seed: Seeds the order.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training and m.running_mean is not None]
    if not norms:
        return
    weight = next(model.parameters())
    momenta = [norm.momentum for norm in norms]
    plain = replace(split, augment=None)
    with evaluating(model), prepared(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch's way to say: the mean over all batches, each with the same weight
            norm.training = True
        try:
            for batch in plain.batches(seed, range(plain.steps(batch_size)), batch_size):
                for view in batch.to(weight.device, weight.dtype):
                    model(view.inputs, list(view.targets))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
