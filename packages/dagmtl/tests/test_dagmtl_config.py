"""What may be asked for, and the ablations of the paper's Table 6 by name."""

import dataclasses

import pytest

import dagmtl


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flow": 0}, "`flow` must be at least 1, or None. Got `flow = 0`"),
        ({"kappa": -1.0}, "`kappa` must be >= 0 and finite"),
        ({"lambda_sq": float("inf")}, "`lambda_sq` must be >= 0 and finite"),
        ({"warmup_epochs": -1}, "`warmup_epochs` must be >= 0"),
        ({"search_epochs": 0}, "`search_epochs` must be at least 1"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"lr": 0.0}, "`lr` must be positive and finite"),
        ({"upper_lr": -0.1}, "`upper_lr` must be >= 0 and finite"),
        ({"weight_decay": -0.1}, "`weight_decay` must be >= 0 and finite"),
    ],
)
def test_values_out_of_range_are_refused(values, message) -> None:
    """With the name, the rule and the value."""
    with pytest.raises(ValueError, match=message):
        dagmtl.Config(**values)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("flow restriction", {"flow": None}),
        ("read-in/out", {"read_in_out": False}),
        ("reduction", {"reduction": dagmtl.keep_all}),
        ("squeeze loss", {"lambda_sq": 0.0}),
    ],
)
def test_an_ablation_leaves_out_one_part(part, changed) -> None:
    """Everything else stays."""
    config = dagmtl.Config(flow=3, kappa=2.0)
    left = {f.name: getattr(config.without(part), f.name) for f in dataclasses.fields(config)}
    assert left == {f.name: getattr(config, f.name) for f in dataclasses.fields(config)} | changed


def test_another_part_is_refused() -> None:
    """The message lists those that there are."""
    with pytest.raises(
        ValueError, match="`part` must be one of flow restriction, read-in/out, reduction, squeeze loss"
    ):
        dagmtl.Config().without("heads")
