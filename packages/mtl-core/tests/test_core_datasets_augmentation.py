import pytest
import torch

from mtl_core.datasets import augment, jitter, mirror


def sample() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    normals = torch.nn.functional.normalize(draw(3, 4, 6) - 0.5, dim=0)
    targets = {
        "segmentation": torch.randint(5, (4, 6), generator=generator),
        "depth": draw(1, 4, 6),
        "normals": normals,
        "digit": torch.tensor(3),
        "vector": draw(7),
    }
    return draw(3, 4, 6), targets


def test_mirroring_turns_image_and_maps_and_negates_x() -> None:
    """Maps are flipped left to right, the normals' x changes its sign, and what is no map stays."""
    image, targets = sample()
    turned, mirrored = mirror(image, targets)
    assert torch.equal(turned, image.flip(-1))
    for task in ("segmentation", "depth"):
        assert torch.equal(mirrored[task], targets[task].flip(-1))
    assert torch.equal(mirrored["normals"][0], -targets["normals"][0].flip(-1))
    assert torch.equal(mirrored["normals"][1:], targets["normals"][1:].flip(-1))
    assert torch.equal(mirrored["digit"], targets["digit"])
    assert torch.equal(mirrored["vector"], targets["vector"])


def test_mirroring_twice_is_the_identity() -> None:
    """And the argument is not changed."""
    image, targets = sample()
    before = {task: target.clone() for task, target in targets.items()}
    twice_image, twice = mirror(*mirror(image, targets))
    assert torch.equal(twice_image, image)
    for task, target in before.items():
        assert torch.equal(twice[task], target)
        assert torch.equal(targets[task], target)


def test_unlabelled_normals_stay_zero_vectors() -> None:
    """The value for "not labelled" is its own mirror image."""
    image, _ = sample()
    _, targets = mirror(image, {"normals": torch.zeros(3, 4, 6)})
    assert (targets["normals"] == 0).all()


def test_normals_of_another_name_are_named() -> None:
    """`normals` says which targets are vectors."""
    image, targets = sample()
    _, mirrored = mirror(image, {"n": targets["normals"], "normals": targets["normals"]}, normals=("n",))
    assert torch.equal(mirrored["n"][0], -mirrored["normals"][0])


def test_jitter_stays_in_range_and_zero_strength_changes_nothing() -> None:
    """Values stay in [0, 1], and differ a little."""
    image, _ = sample()
    generator = torch.Generator().manual_seed(1)
    changed = jitter(image, generator, strength=0.5)
    assert 0 <= changed.min() <= changed.max() <= 1
    assert not torch.equal(changed, image)
    torch.testing.assert_close(jitter(image, generator, strength=0), image)


def test_only_the_given_generator_is_used() -> None:
    """Equal generators give equal results, whatever the global one is, and the global one is not touched."""
    image, targets = sample()
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        results.append(augment(image, targets, torch.Generator().manual_seed(5)))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(results[0][1][task], results[1][1][task]) for task in targets)


def test_half_of_the_samples_are_mirrored() -> None:
    """Of 400 draws between 160 and 240 (five standard deviations are 50)."""
    image, targets = sample()
    generator = torch.Generator().manual_seed(0)
    count = sum(not torch.equal(augment(image, targets, generator)[1]["depth"], targets["depth"]) for _ in range(400))
    assert 150 < count < 250


@pytest.mark.parametrize("strength", [-0.1, 1.5])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    """The error names the value."""
    with pytest.raises(ValueError, match=rf"`strength` must lie in \[0, 1\]. Got `strength = {strength}`"):
        jitter(torch.zeros(3, 2, 2), torch.Generator(), strength=strength)
