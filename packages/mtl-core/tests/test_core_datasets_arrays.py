import numpy as np
import pytest
import torch

import mtl_core.datasets.arrays  # noqa: F401
from mtl_core.datasets import arrays


def images(samples: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (samples, 3, 4, 5), dtype=np.uint8)


def test_uint8_images_become_floats_between_zero_and_one() -> None:
    """A byte is divided by 255 on access."""
    source = arrays(images(), {"digit": np.arange(6)})
    image, _ = source[2]
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, torch.from_numpy(images()[2]) / 255)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [(np.uint8, torch.int64), (np.int32, torch.int64), (np.float64, torch.float32), (np.bool_, torch.float32)],
)
def test_targets_take_the_dtypes_of_the_conventions(stored: type, expected: torch.dtype) -> None:
    """Integers become int64, floats and booleans float32."""
    source = arrays(images(), {"target": np.ones(6, dtype=stored)})
    assert source[0][1]["target"].dtype == source.batch(torch.tensor([0, 1]))[1]["target"].dtype == expected


def test_a_batch_is_the_stack_of_its_samples() -> None:
    """`batch` gives what indexing gives, for a subset of a subset too."""
    source = arrays(torch.from_numpy(images()), {"digit": torch.arange(6), "depth": torch.rand(6, 1, 4, 5)})
    for part in (source, source.subset([5, 4, 0, 2]), source.subset([5, 4, 0, 2]).subset([-1, 1])):
        rows = torch.tensor([1, 0, 1])
        inputs, targets = part.batch(rows)
        assert torch.equal(inputs, torch.stack([part[int(row)][0] for row in rows]))
        for task in ("digit", "depth"):
            assert torch.equal(targets[task], torch.stack([part[int(row)][1][task] for row in rows]))


def test_a_subset_keeps_the_order_of_its_indices() -> None:
    """Rows are those of the parent, negative ones counted from the end."""
    source = arrays(images(), {"digit": np.arange(6)}).subset([4, -1, 0])
    assert [int(target["digit"]) for _, target in (source[i] for i in range(3))] == [4, 5, 0]


def test_files_are_mapped_and_equal_the_arrays(tmp_path) -> None:
    """A `.npy` path gives the same samples and the same fingerprint as the array in memory."""
    np.save(tmp_path / "x.npy", images())
    np.save(tmp_path / "y.npy", np.arange(6))
    on_disk = arrays(tmp_path / "x.npy", {"digit": str(tmp_path / "y.npy")})
    in_memory = arrays(images(), {"digit": np.arange(6)})
    assert isinstance(on_disk._inputs, np.memmap)
    assert torch.equal(on_disk[3][0], in_memory[3][0])
    assert on_disk.fingerprint() == in_memory.fingerprint()


def test_what_is_given_out_may_be_changed(tmp_path) -> None:
    """Tensors are copies: neither the file nor the array behind them changes."""
    np.save(tmp_path / "x.npy", np.zeros((2, 3), dtype=np.float32))
    source = arrays(tmp_path / "x.npy", {"digit": np.zeros(2)})
    source[0][0].add_(1)
    source.batch(torch.tensor([0]))[1]["digit"].add_(1)
    assert source[0][0].sum() == 0
    assert source[0][1]["digit"] == 0


def test_the_fingerprint_tells_content_dtype_names_and_rows() -> None:
    """Equal content gives an equal hash, and every difference another one."""
    changed = images()
    changed[5, 2, 3, 4] ^= 1
    sources = [
        arrays(images(), {"a": np.arange(6)}),
        arrays(changed, {"a": np.arange(6)}),
        arrays(images(), {"a": np.arange(6, dtype=np.int32)}),
        arrays(images(), {"b": np.arange(6)}),
        arrays(images(), {"a": np.arange(6)}).subset(range(5)),
        arrays(images()[:, :, ::-1], {"a": np.arange(6)}),
    ]
    assert len({source.fingerprint() for source in sources}) == len(sources)
    assert sources[0].fingerprint() == arrays(images().copy(), {"a": np.arange(6)}).fingerprint()


def test_a_large_memory_map_is_fingerprinted_by_some_rows(tmp_path, monkeypatch) -> None:
    """Above the limit the first and the last row still count, and some rows between do not."""
    import sys

    module = sys.modules["mtl_core.datasets.arrays"]
    monkeypatch.setattr(module, "WHOLE_BYTES", 100)
    monkeypatch.setattr(module, "SAMPLED_ROWS", 3)
    stored = np.arange(40, dtype=np.float32).reshape(10, 4)
    hashes = []
    for row in (None, 0, 9, 1):
        changed = stored.copy()
        if row is not None:
            changed[row] = -1
        np.save(tmp_path / f"{row}.npy", changed)
        hashes.append(arrays(tmp_path / f"{row}.npy", {"a": np.zeros(10)}).fingerprint())
    assert hashes[0] == hashes[3]
    assert len(set(hashes)) == 3


def test_bfloat16_and_float16_become_float32() -> None:
    """numpy has no bfloat16, and sources still take such tensors."""
    source = arrays(torch.ones(2, 3, dtype=torch.bfloat16), {"a": torch.ones(2, dtype=torch.float16)})
    assert source[0][0].dtype == source[0][1]["a"].dtype == torch.float32


def test_different_lengths_are_refused_with_the_names() -> None:
    """The error says which array has how many samples."""
    with pytest.raises(ValueError, match=r"same number of samples. Got `inputs`: 6, `targets\['digit'\]`: 5"):
        arrays(images(), {"digit": np.arange(5)})


def test_no_samples_are_refused() -> None:
    """An empty array, and a subset without rows, are no data set."""
    with pytest.raises(ValueError, match="at least one sample"):
        arrays(images(0), {"digit": np.arange(0)})
    with pytest.raises(ValueError, match="at least one sample"):
        arrays(images(), {"digit": np.arange(6)}).subset([])


def test_no_tasks_are_refused() -> None:
    """A source labels at least one task."""
    with pytest.raises(ValueError, match="`targets` must hold at least one task"):
        arrays(images(), {})


def test_what_holds_no_numbers_is_refused() -> None:
    """Objects, strings and lists are named with their type."""
    with pytest.raises(TypeError, match=r"`targets\['digit'\]` must hold numbers or booleans. Got .*object"):
        arrays(images(), {"digit": np.array([None] * 6, dtype=object)})
    with pytest.raises(TypeError, match=r"`targets\['digit'\]` must hold numbers or booleans. Got .*U1"):
        arrays(images(), {"digit": np.array(list("abcdef"))})
    with pytest.raises(TypeError, match="`inputs` must be a tensor, a numpy array or the path"):
        arrays([1, 2], {"digit": np.arange(2)})  # type: ignore[arg-type]


def test_too_few_axes_are_refused() -> None:
    """An input has at least one axis beside the sample, a target at least the sample."""
    with pytest.raises(ValueError, match=r"`inputs` must have at least two axes.*Got `inputs.shape = \(6,\)`"):
        arrays(np.arange(6), {"digit": np.arange(6)})
    with pytest.raises(ValueError, match=r"`targets\['digit'\]` must have an axis of samples"):
        arrays(images(), {"digit": np.array(1)})


def test_missing_and_damaged_files_are_named(tmp_path) -> None:
    """The error names the argument and the file; pickled objects are not loaded."""
    with pytest.raises(FileNotFoundError, match=r"`inputs` must be the path of a .npy file. There is no file .*x.npy"):
        arrays(tmp_path / "x.npy", {"digit": np.arange(6)})
    (tmp_path / "x.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"`inputs` must be a readable .npy file of numbers. .*x.npy"):
        arrays(tmp_path / "x.npy", {"digit": np.arange(6)})
    np.save(tmp_path / "o.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"`targets\['digit'\]` must be a readable .npy file of numbers. .*o.npy"):
        arrays(images(2), {"digit": tmp_path / "o.npy"})


def test_an_index_outside_is_refused() -> None:
    """Iteration therefore ends, and a subset of rows that are not there is no subset."""
    source = arrays(images(), {"digit": np.arange(6)})
    with pytest.raises(IndexError, match=r"`index` must be within the 6 samples. Got `index = 6`"):
        source[6]
    with pytest.raises(IndexError, match=r"`indices` must be within the 6 samples. Got `indices` with 7"):
        source.subset([0, 7])
    assert len(list(source)) == 6  # type: ignore[call-overload]
