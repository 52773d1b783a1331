"""Model files: safetensors that hold of a tensor with many exact zeros the survivors alone, and load bit by bit.

Which tensors are packed (`mtl_core.packing`), and which names are another's, stands in the file's metadata as one JSON object
with a format version; all of it is checked, against the model that is to be filled, before anything of its size is made.
Other tensors stand in the file as they are, for any reader of safetensors.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mtl_core.checkpoint import StorageError
from mtl_core.packing import PARTS, Packed, most_elements, pack_tensor, unpack_tensor
from mtl_core.stored import check_module

FORMAT = 2
"""Of model files. Format 1 held every tensor whole, and the aliases alone as metadata; it is read, too."""

HEADER_BYTES = 2**24
"""A longer header is refused: it would name some hundred thousand tensors, and is read before anything else is known."""


@dataclass(frozen=True)
class Stored:
    """What a model file holds.

    Attributes:
        path: The file.
        aliases: Names of tensors that are others', too.
        packed: Facts of the packed tensors, by name.
        tensors: Those that are not packed, and the parts of those that are.
    """

    path: Path
    aliases: dict[str, str]
    packed: dict[str, Packed]
    tensors: dict[str, Tensor]

    @property
    def dimensions(self) -> int:
        """The sum of all tensors' sizes: no dimension of the model is larger."""
        return sum(sum(t.shape) for t in self.tensors.values()) + sum(
            sum(facts.shape) for facts in self.packed.values()
        )

    def parts(self, name: str) -> dict[str, Tensor]:
        """The parts of a packed tensor.

        Raises:
            ValueError: If one is missing, or they cannot be parts of so large a tensor.
        """
        facts = self.packed[name]
        missing = [key for key in PARTS[facts.form] if _part(name, key) not in self.tensors]
        if missing or name in self.tensors:
            raise ValueError(f"`{_part(name, missing[0])}` is missing" if missing else f"`{name}` is there twice")
        parts = {key: self.tensors[_part(name, key)] for key in PARTS[facts.form]}
        if any(part.ndim != 1 for part in parts.values()) or math.prod(facts.shape) > most_elements(facts, parts):
            raise ValueError(f"`{name}` cannot have the shape {list(facts.shape)}")
        return parts

    def unpacked(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """All tensors by name, aliases included.

        Args:
            shapes: Shapes of the model's tensors: a packed one of another shape is refused before it is made.

        Raises:
            StorageError: If parts do not belong together.
        """
        packed = {_part(name, key) for name, facts in self.packed.items() for key in PARTS[facts.form]}
        found = {name: tensor for name, tensor in self.tensors.items() if name not in packed}
        try:
            for name, facts in self.packed.items():
                try:
                    if name not in shapes:
                        raise ValueError("the model has none")
                    found[name] = unpack_tensor(facts, self.parts(name), shapes[name])
                except ValueError as error:
                    raise ValueError(f"of `{name}`, {error}") from error
            for alias, name in self.aliases.items():
                if alias in found or name not in found:
                    raise ValueError(f"the alias `{alias}` of `{name}` fits no tensor")
                found[alias] = found[name]
        except ValueError as error:
            raise StorageError(f"`{self.path}` is damaged: {error}. Save the model again.") from error
        return found


def distinct(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a model's state, each once, on the CPU; and the names under which one is used again."""
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for name, value in model.state_dict().items():
        plain = value.detach()
        place = (plain.data_ptr(), plain.shape, plain.stride(), plain.dtype, plain.device)
        if plain.numel() and place in seen:
            aliases[name] = seen[place]
        else:
            seen[place] = name
            tensors[name] = plain.cpu().contiguous().clone()
    return tensors, aliases


def pack(tensors: Mapping[str, Tensor], aliases: Mapping[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a model file holds: its tensors, and its metadata; equal tensors give equal ones.

    Args:
        tensors: By name, as `distinct` gives them.
        aliases: Names of tensors that are others', too.
    """
    stored, facts = dict(tensors), {}
    for name, tensor in tensors.items():
        packed = pack_tensor(tensor)
        parts = {_part(name, key): part for key, part in packed[1].items()} if packed else {}
        if packed and not parts.keys() & stored.keys():
            facts[name] = asdict(packed[0])
            del stored[name]
            stored.update(parts)
    # One entry of metadata only: the order of several is not fixed, and equal weights must give equal bytes.
    known = {"format": FORMAT, "aliases": dict(aliases), "packed": facts}
    return stored, {"mtl-core": json.dumps(known, sort_keys=True)}


def stored_bytes(model: nn.Module, only: Collection[str] | None = None) -> int:
    """Bytes of the file that a model is saved to.

    Args:
        model: The model.
        only: Names of the tensors that count; default all.
    """
    tensors, aliases = distinct(model)
    some = {name: tensor for name, tensor in tensors.items() if only is None or name in only}
    return len(save(*pack(some, {alias: name for alias, name in aliases.items() if name in some})))


def read(path: Path) -> Stored:
    """Read a model file; its packed tensors stay packed.

    Args:
        path: A file of what `pack` gave, one of format 1, or any file of safetensors.

    Raises:
        StorageError: If it is missing, damaged, or of a newer format.
    """
    try:
        aliases, packed = _facts(_metadata(path))
        file = Stored(path, aliases, packed, load_file(path))
        for name in packed:
            file.parts(name)
        return file
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise StorageError(f"`{path}` cannot be read: {error}. Save the model again.") from error


def fill(model: nn.Module, file: Stored) -> None:
    """Give a model the tensors of a file, bit by bit.

    Args:
        model: Takes the type of the file's floating-point tensors, if they have one in common.
        file: Holds exactly the tensors of its state.

    Raises:
        StorageError: If packed parts do not belong together.
        ValueError: If a name, shape or type is not the model's.
    """
    own = {name: tuple(t.shape) for name, t in model.state_dict().items() if isinstance(t, Tensor)}
    tensors = file.unpacked(own)
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(dtypes) == 1:
        model.to(dtypes.pop())  # a float64 model stays one
    check_module(tensors, model, "weights")
    model.load_state_dict(tensors)


def _metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, no longer than is sane: what it says is checked before tensors are read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(HEADER_BYTES, path.stat().st_size - 8):
            raise ValueError(f"its header of {length} bytes is too long, or the file is cut off")
        header = json.loads(file.read(length))
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its header is no object, or its metadata are no text")
    return metadata


def _facts(metadata: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Packed]]:
    if "mtl-core" not in metadata:  # format 1
        known = {"format": 1, "aliases": json.loads(metadata.get("aliases", "{}")), "packed": {}}
    else:
        known = json.loads(metadata["mtl-core"])
    if not isinstance(known, dict) or type(known.get("format")) is not int:
        raise ValueError("its facts are no object with a `format`")
    if known["format"] > FORMAT:
        raise ValueError(
            f"it has model format {known['format']}, and this version of mtl-core reads up to {FORMAT}: "
            "use the version that wrote it"
        )
    aliases, packed = known.get("aliases"), known.get("packed")
    if not isinstance(aliases, dict) or not all(isinstance(name, str) for name in aliases.values()):
        raise ValueError("its aliases are no names")
    if not isinstance(packed, dict):
        raise ValueError("its packed tensors are no object")
    return aliases, {name: _packed(name, facts) for name, facts in packed.items()}


def _packed(name: str, facts: Any) -> Packed:
    if not isinstance(facts, dict) or facts.keys() != {"form", "shape", "dtype"} or facts["form"] not in tuple(PARTS):
        raise ValueError(f"`{name}` is packed in no known form")
    shape = facts["shape"]
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"`{name}` has no shape")
    return Packed(facts["form"], tuple(shape), str(facts["dtype"]))


def _part(name: str, part: str) -> str:
    return f"{name}#{part}"
