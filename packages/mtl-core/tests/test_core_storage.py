"""Model files: small for what they hold, bit by bit the same again, and never trusted."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import mtl_core as core
from mtl_core import backbones, heads, storage
from mtl_core.checkpoint import StorageError, sha256
from mtl_core.sparsity import count_zeros, prunable_weights
from mtl_core.task import Task, classification

TASKS = {"kind": classification("kind", 3), "size": classification("size", 5)}


def build(tasks: Mapping[str, Task]) -> core.SharedBackbone:
    return core.SharedBackbone(backbones.tiny(), tasks, heads.linear())


def pruned(model: nn.Module, share: float = 0.9, sign: bool = False) -> nn.Module:
    """A model of whose prunable weights this share is zero; with `sign`, as a product with a mask leaves them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in prunable_weights(model).values():
            keep = torch.rand(weight.shape, generator=generator) >= share
            weight.copy_(weight * keep if sign else torch.where(keep, weight, 0.0))
    return model.eval()


def bits(model: nn.Module) -> dict[str, Any]:
    return {name: (t.dtype, t.reshape(-1).view(torch.uint8).tolist()) for name, t in model.state_dict().items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of which tensors are packed."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("saved")
    core.save(pruned(build(TASKS)), path)
    return path


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_file_holds_the_survivors_and_a_bit_for_each_weight(tmp_path: Path, share: float) -> None:
    """At most 1.1 × (4 bytes × survivors + 1 bit × prunable weights + the dense rest)."""
    torch.manual_seed(0)
    tasks = {"kind": TASKS["kind"]}
    model = pruned(core.SharedBackbone(backbones.resnet10(width=0.25), tasks, heads.linear()), share)
    core.save(model, tmp_path)
    counts = count_zeros(model).values()
    weights, zeros = sum(n for _, n in counts), sum(zero for zero, _ in counts)
    names = prunable_weights(model)
    rest = sum(t.numel() * t.element_size() for n, t in model.state_dict().items() if n not in names)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size <= 1.1 * (4 * (weights - zeros) + weights / 8 + rest)
    assert size == storage.stored_bytes(model)
    assert storage.stored_bytes(model, ["backbone.conv1.weight"]) < size


@pytest.mark.parametrize("sign", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_pruned_model_is_loaded_bit_by_bit(tmp_path: Path, dtype: torch.dtype, sign: bool) -> None:
    """Signs of zeros included; the same model again gives the same bytes."""
    model = pruned(build(TASKS), sign=sign).to(dtype)
    core.save(model, tmp_path / "a")
    again = core.load(tmp_path / "a", build)
    assert bits(again) == bits(model)
    core.save(again, tmp_path / "b")
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


class Mixed(nn.Module):
    """Types side by side, a weight used twice, and a buffer of integers with zeros."""

    def __init__(self, _: Any = None) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(40, 40), nn.Linear(40, 40)
        self.second.weight = self.first.weight
        self.half = nn.Linear(40, 40, dtype=torch.bfloat16)
        self.register_buffer("counts", torch.zeros(3000, dtype=torch.int64))

    def components(self) -> dict[str, list[nn.Module]]:
        return {"backbone": [self], "head.a": []}


def test_types_side_by_side_and_a_weight_used_twice_come_back(tmp_path: Path) -> None:
    """Each tensor with its own type; a packed one that is used twice is stored once and is one again."""
    model = pruned(Mixed())
    core.save(model, tmp_path)
    again = core.load(tmp_path, Mixed)
    assert bits(again) == bits(model)
    assert again.get_parameter("first.weight") is again.get_parameter("second.weight")
    stored = storage.read(tmp_path / "model.safetensors")
    assert stored.aliases == {"second.weight": "first.weight"}
    assert sorted(stored.packed) == ["counts", "first.weight", "half.weight"]


def test_a_tensor_whose_part_has_a_name_that_is_taken_stays_whole() -> None:
    """Nothing is overwritten."""
    tensors = {"a": torch.zeros(999), "a#values": torch.ones(1)}
    stored, _ = storage.pack(tensors, {})
    assert stored.keys() == tensors.keys()


def test_what_is_not_packed_is_there_for_any_reader(folder: Path) -> None:
    """Biases and norms stand in the file as they are."""
    model = core.load(folder, build)
    plain = load_file(folder / "model.safetensors")
    assert "heads.kind.linear.bias" in plain
    assert all(torch.equal(plain[name], t) for name, t in model.state_dict().items() if name in plain)


def test_files_of_the_format_before_are_read(tmp_path: Path) -> None:
    """Whole tensors, aliases as the only metadata; a file of no metadata at all, too."""
    model = pruned(Mixed())
    core.save(model, tmp_path)
    tensors, aliases = storage.distinct(model)
    save_file(tensors, tmp_path / "model.safetensors", {"aliases": json.dumps(aliases)})
    assert bits(core.load(sealed(tmp_path, tmp_path), Mixed)) == bits(model)
    save_file({name: t.clone() for name, t in model.state_dict().items()}, tmp_path / "model.safetensors")
    assert bits(core.load(sealed(tmp_path, tmp_path), Mixed)) == bits(model)


def sealed(folder: Path, like: Path) -> Path:
    """A folder whose model was changed on purpose: the structure of another, and the checksum of what is there."""
    structure = json.loads((like / "structure.json").read_text())
    structure["sha256"] = sha256(folder / "model.safetensors")
    (folder / "structure.json").write_text(json.dumps(structure))
    return folder


def facts_of(path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    return json.loads(header["__metadata__"]["mtl-core"])


ATTACKS: list[tuple[str, Any, str]] = [
    ("format", 3, "has model format 3, and this version of mtl-core reads up to 2: use the version that wrote it"),
    ("format", "2", "its facts are no object with a `format`"),
    ("aliases", [], "its aliases are no names"),
    ("aliases", {"a": 1}, "its aliases are no names"),
    ("aliases", {"heads.kind.linear.bias": "heads.size.linear.bias"}, "the alias .* fits no tensor"),
    ("aliases", {"a": "nothing"}, "the alias `a` of `nothing` fits no tensor"),
    ("packed", [], "its packed tensors are no object"),
    ("packed/NAME", 5, "is packed in no known form"),
    ("packed/NAME/form", "zip", "is packed in no known form"),
    ("packed/NAME/form", ["mask"], "is packed in no known form"),
    ("packed/NAME/form", "signs", r"#signs` is missing"),
    ("packed/NAME/form", "index", r"#index` is missing"),
    ("packed/NAME/shape", "8", "has no shape"),
    ("packed/NAME/shape", [-1, 2], "has no shape"),
    ("packed/NAME/shape", [True], "has no shape"),
    ("packed/NAME/shape", [10**6, 10**6], r"cannot have the shape \[1000000, 1000000\]"),
    ("packed/NAME/dtype", "float64", "type float32 of the survivors is not float64"),
    ("packed/heads.kind.linear.bias", {"form": "mask", "shape": [3], "dtype": "float32"}, r"bias#values` is missing"),
]


def attacked(folder: Path, to: Path, facts: Any = None, **tensors: Any) -> Path:
    """A copy of a saved model with other facts, or other tensors."""
    path = folder / "model.safetensors"
    held = load_file(path) | tensors
    held = {name: tensor for name, tensor in held.items() if tensor is not None}
    facts = facts_of(path) if facts is None else facts
    save_file(held, to / "model.safetensors", {"mtl-core": facts if isinstance(facts, str) else json.dumps(facts)})
    return sealed(to, folder)


@pytest.mark.parametrize(("keys", "value", "message"), ATTACKS)
def test_facts_are_not_trusted(folder: Path, tmp_path: Path, keys: str, value: Any, message: str) -> None:
    """Every wrong fact is a StorageError of one line that names the file."""
    facts = facts_of(folder / "model.safetensors")
    name = next(iter(facts["packed"]))
    entry, *rest = keys.split("/")
    where = facts
    for key in [entry, *rest][:-1]:
        where = where[name if key == "NAME" else key]
    last = [entry, *rest][-1]
    where[name if last == "NAME" else last] = value
    with pytest.raises(StorageError, match=rf"model.safetensors` (cannot be read|is damaged): .*{message}") as caught:
        core.load(attacked(folder, tmp_path, facts), build)
    assert "\n" not in str(caught.value)


def test_tensors_are_not_trusted(folder: Path, tmp_path: Path) -> None:
    """Parts missing, of another type or number; names that are no tensor of the model's, and never paths."""
    name = next(iter(facts_of(folder / "model.safetensors")["packed"]))
    cases: list[tuple[dict[str, Any], str]] = [
        ({f"{name}#mask": None}, r"#mask` is missing"),
        ({f"{name}#mask": torch.zeros(3, dtype=torch.uint8)}, "cannot have the shape"),
        ({f"{name}#mask": torch.zeros(999, dtype=torch.uint8)}, "999 numbers of type uint8 are no"),
        ({f"{name}#mask": torch.zeros(1, 999, dtype=torch.uint8)}, "cannot have the shape"),
        ({f"{name}#values": torch.zeros(3)}, "bits of the mask are set for 3 survivors"),
        ({f"{name}#values": torch.zeros(3, dtype=torch.int32)}, "type int32 of the survivors is not float32"),
        ({name: torch.zeros(3)}, "is there twice"),
        ({f"{name}#index": torch.zeros(3)}, r"does not fit what `build` makes.*too many"),
        ({"../../evil": torch.zeros(3)}, r"does not fit what `build` makes.*too many .*evil"),
        ({"heads.kind.linear.bias": None}, r"does not fit what `build` makes.*Missing key"),
        ({"heads.kind.linear.bias": torch.zeros(4)}, r"does not fit what `build` makes.*must be torch.float32"),
        (
            {"heads.kind.linear.bias": torch.zeros(3, dtype=torch.int64)},
            r"must be torch.float32 \[3\]. Got torch.int64",
        ),
    ]
    for tensors, message in cases:
        with pytest.raises(StorageError, match=message):
            core.load(attacked(folder, tmp_path, **tensors), build)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "structure.json"]
    facts = facts_of(folder / "model.safetensors")
    facts["packed"]["../evil"] = facts["packed"].pop(name)
    with pytest.raises(StorageError, match=r"`../evil#values` is missing"):
        core.load(attacked(folder, tmp_path, facts), build)
    facts["packed"] = {"a": {"form": "index", "shape": [10**12], "dtype": "float32"}}
    more = {"a#values": torch.zeros(0), "a#index": torch.zeros(0, dtype=torch.int32)}
    with pytest.raises(StorageError, match=r"`a` cannot have the shape \[1000000000000\]"):
        core.load(attacked(folder, tmp_path, facts, **more), build)
    facts["packed"] = {"a": {"form": "index", "shape": [0], "dtype": "float32"}}
    with pytest.raises(StorageError, match="of `a`, the model has none"):
        core.load(attacked(folder, tmp_path, facts, **more), build)


@pytest.mark.parametrize("facts", ["[]", "5", "{", '"x"', "[" * 100_000])
def test_facts_that_are_no_object_are_refused(folder: Path, tmp_path: Path, facts: str) -> None:
    """Whatever JSON, or none."""
    with pytest.raises(StorageError, match=r"model.safetensors` cannot be read"):
        core.load(attacked(folder, tmp_path, facts), build)


def test_a_header_is_bounded_before_it_is_read(folder: Path, tmp_path: Path) -> None:
    """One of 100 MB, one longer than the file, metadata that are no text, no header at all."""
    attacked(folder, tmp_path)
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 10**8))
        file.truncate(10**8 + 8)
    with pytest.raises(StorageError, match="its header of 100000000 bytes is too long"):
        storage.read(path)
    for raw in (
        b"",
        b"12345678",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 22) + b'{"__metadata__":{"a":1}}'[:22],
    ):
        path.write_bytes(raw)
        with pytest.raises(StorageError, match="cannot be read"):
            storage.read(path)
    header = b'{"__metadata__":{"mtl-core":1}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(StorageError, match="its metadata are no text"):
        storage.read(path)
    with pytest.raises(StorageError, match=r"cannot be read: .*No such file"):
        storage.read(tmp_path / "nothing.safetensors")


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_fills_the_model(folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Bytes of header and body changed, left out or put in: a StorageError, or a model of the same names and shapes."""
    raw = bytearray((folder / "model.safetensors").read_bytes())
    header = 8 + struct.unpack("<Q", bytes(raw[:8]))[0]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.one_of(st.integers(0, 7), st.integers(8, header), st.integers(0, len(raw) - 1)))
        kind = data.draw(st.sampled_from(["change", "digit", "out", "in", "cut"]))
        at = min(at, len(raw) - 1)
        if kind == "change":
            raw[at] = data.draw(st.integers(0, 255))
        elif kind == "digit":
            raw[at] = data.draw(st.sampled_from(b'0123456789[]{}",FI'))
        elif kind == "out":
            del raw[at : at + data.draw(st.integers(1, 9))]
        elif kind == "in":
            raw[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        else:
            del raw[at:]
        raw = raw or bytearray(b"0")
    (tmp_path / "model.safetensors").write_bytes(raw)
    sealed(tmp_path, folder)
    try:
        found = core.load(tmp_path, build)
    except StorageError:
        return
    shapes = {name: t.shape for name, t in build(TASKS).state_dict().items()}
    assert {name: t.shape for name, t in found.state_dict().items()} == shapes


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_facts_of_another_kind_are_refused(folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Any JSON in place of any fact of a packed tensor is a StorageError, unless it says the same."""
    facts = facts_of(folder / "model.safetensors")
    before = json.loads(json.dumps(facts))
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=4,
    )
    name = data.draw(st.sampled_from(sorted(facts["packed"])))
    entry = data.draw(st.sampled_from(["form", "shape", "dtype", "more", None]))
    if entry is None:
        facts["packed"][name] = data.draw(anything)
    else:
        facts["packed"][name][entry] = data.draw(anything)
    if facts == before:
        return
    with pytest.raises(StorageError, match=r"model\.safetensors` (cannot be read|is damaged)"):
        core.load(attacked(folder, tmp_path, facts), build)


def test_the_facts_of_a_packed_tensor_are_its_form_shape_and_type() -> None:
    """What a reader of the file needs, and no more."""
    stored, metadata = storage.pack({"w": torch.zeros(600)}, {})
    assert sorted(stored) == ["w#mask", "w#values"]
    assert json.loads(metadata["mtl-core"]) == {
        "format": 2,
        "aliases": {},
        "packed": {"w": {"form": "mask", "shape": [600], "dtype": "float32"}},
    }
