"""Which head fits which task, and which features fit which head."""

from torch import Tensor, nn
from torch.fx import Proxy

from mtl_core.components import Head
from mtl_core.task import Task


def by_kind(*, dense: Head, other: Head) -> Head:
    """One head for tasks whose prediction is a map, another for all others.

    Args:
        dense: Makes the heads of dense tasks.
        other: Makes the heads of image-level tasks.

    Examples:
        >>> from mtl_core.heads import aspp, linear
        >>> from mtl_core.task import attribute
        >>> head = by_kind(dense=aspp(width=64), other=linear())
        >>> type(head(8, attribute("tall"))).__name__
        'LinearHead'
    """

    def head(channels: int, task: Task) -> nn.Module:
        return (dense if task.dense else other)(channels, task)

    return head


def refuse_task(task: Task, *, dense: bool, name: str) -> None:
    """Refuse a task of the other kind when its head is made.

    Args:
        task: The task.
        dense: The kind that is refused.
        name: The head's name, for the message.

    Raises:
        ValueError: If `task.dense` is `dense`.
    """
    if task.dense is dense:
        rule, other = ("an image-level task", "`aspp`") if dense else ("a dense task", "`linear`")
        raise ValueError(
            f"`task` must be {rule} for the head `{name}`. Got task `{task.name}` with `dense = {task.dense}`: "
            f"take {other}, or `by_kind` for tasks of both kinds."
        )


def require_map(features: Tensor, name: str) -> None:
    """Refuse features without rows and columns, naming the task.

    Args:
        features: What a head was given. A proxy of torch.fx has no known shape: the traced graph holds no check.
        name: The task's name.

    Raises:
        ValueError: If the features are not `[batch, channels, h, w]`.
    """
    if not isinstance(features, Proxy) and features.ndim != 4:
        raise ValueError(
            f"`features` must be `[batch, channels, h, w]` for the head of task `{name}`. "
            f"Got shape {list(features.shape)}: take a backbone that gives maps, or the head `linear`."
        )
