"""Several runs on one page: which are one model, means and deviations, gains, what cannot be compared."""

import copy
import statistics
from pathlib import Path
from typing import Any

import pytest

from mtl_core.checkpoint import write_text
from mtl_core.contest import Model, against_size, figure_table, gains_of, models_of, reference_of, size_table
from mtl_core.report import compare
from mtl_core.result import Report

DIRECTIONS = {"accuracy": True, "absolute_error": False}
WHOLE = {"parameters": 100, "survivors": 100, "nonzero_flops": 2e6, "seconds": 0.002, "disk": 2048}


def figures(accuracy: float, error: float) -> dict[str, dict[str, float]]:
    return {"kind": {"accuracy": accuracy}, "depth": {"absolute_error": error}}


def run(
    method: str = "adapmtl", *, seed: int = 0, ours: Any = None, dense: Any = None, survivors: int = 10, **config: Any
) -> Report:
    ours = ours or figures(0.5, 1.0)
    measured = {"ours": {"whole": WHOLE | {"survivors": survivors}}, "dense": {"whole": WHOLE}}
    return Report(
        {
            "method": method,
            "seed": seed,
            "config": config,
            "tasks": {"kind": [3, False, 1.0, "nats"], "depth": [1, True, 1.0, "metres"]},
            "part": "test",
            "part_samples": 8,
            "metrics": ours,
            "baselines": {"dense": dense} if dense else {},
            "directions": DIRECTIONS,
            "measured": measured,
            "command": f"{method} fit --seed {seed}",
        }
    )


def test_runs_that_differ_in_their_seed_alone_are_one_model() -> None:
    """A name is the method, and the settings in which several of its models differ."""
    several = [run(seed=0, sparsity=0.9, lr=0.1), run(seed=1, sparsity=0.9, lr=0.1), run(seed=0, sparsity=0.8, lr=0.1)]
    found = models_of([*several, run("dmtg", seed=4)])
    assert [(model.name, list(model.figures)) for model in found] == [
        ("adapmtl, sparsity 0.9", [0, 1]),
        ("adapmtl, sparsity 0.8", [0]),
        ("dmtg", [4]),
    ]


def test_a_plain_model_that_several_runs_have_trained_is_shown_once() -> None:
    """Equal figures of the same seed: trained alike; others are named after the run that they stand beside."""
    dense, other = figures(0.4, 2.0), figures(0.3, 2.0)
    found = models_of([run("a", dense=dense), run("b", dense=dense), run("c", dense=other), run("d", dense=other)])
    assert [model.name for model in found if model.plain] == ["dense", "dense beside c"]
    assert reference_of(found).name == "dense"
    assert reference_of(models_of([run("a"), run("b")])).name == "a"


def test_gains_are_means_over_tasks_of_signed_relative_changes() -> None:
    """By hand: accuracy .4 to .5 is +25 %, an error of 2 to 1 is +50 %; without that seed, against the mean."""
    model = Model("ours", {0: figures(0.5, 1.0), 7: figures(0.6, 3.0)})
    reference = Model("dense", {0: figures(0.4, 2.0), 1: figures(0.8, 4.0)})
    assert gains_of(model, reference, DIRECTIONS) == pytest.approx([37.5, 0.0])  # against .6 and 3: no change


def test_tables_show_mean_and_deviation_of_several_seeds() -> None:
    """As many decimals as the mean has; values that are equal are shown once, and so is one value."""
    reports = [run(seed=s, ours=figures(a, 1.0), dense=figures(0.5, 1.0)) for s, a in ((0, 0.5), (1, 0.6), (2, 0.7))]
    found = models_of(reports)
    rows = {row[0]: row for row in figure_table(found, DIRECTIONS).rows}
    assert rows["kind"] == ("kind", "accuracy ↑", "0.600 ± 0.100", "0.500")
    assert rows["depth"] == ("depth", "absolute error ↓", "1.000 m", "1.000 m")
    table = size_table(found, reference_of(found), DIRECTIONS)
    gains = [0.0, 10.0, 20.0]
    assert table.rows[0][:5] == ("adapmtl", "3", f"+10.0 ± {statistics.stdev(gains):.1f} %", "100", "10")
    assert table.rows[1][:3] == ("dense", "3", "0")


def test_the_picture_has_a_point_for_each_model_with_a_size() -> None:
    """Gain over the parameters that are not zero; a bar where there are several seeds."""
    found = models_of([run(seed=s, ours=figures(0.5 + s, 1.0), dense=figures(0.5, 1.0), survivors=25) for s in (0, 1)])
    found.append(Model("not measured", {0: figures(0.1, 1.0)}))
    (axis,) = against_size(found, reference_of(found), DIRECTIONS).axes
    assert [tuple(map(float, container[0].get_xydata()[0])) for container in axis.containers] == [(25, 50), (100, 0)]
    assert [container.has_yerr for container in axis.containers] == [True, False]
    assert against_size(found[-1:], found[-1], DIRECTIONS) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part_samples": 9}, r"the same part of the data\. Got adapmtl \(kind, depth; 8 samples\) and adapmtl"),
        ({"tasks": {"kind": [3, False, 1.0, "nats"]}}, "of the same tasks"),
        ({}, "each run once. Got two of adapmtl with seed 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: dict[str, Any], message: str) -> None:
    """Other tasks, another part of the data, the same run twice."""
    with pytest.raises(ValueError, match=message):
        models_of([run(), Report({**copy.deepcopy(dict(run())), **change})])


def test_a_run_that_was_not_measured_is_refused() -> None:
    """There is nothing to compare."""
    with pytest.raises(ValueError, match="must hold results that were measured"):
        models_of([Report({"method": "adapmtl"})])


def test_the_page_holds_everything_and_needs_no_other_file(tmp_path: Path) -> None:
    """Table, picture, figures, and the command of each run; without a folder there is no page."""
    for name, report in (("a", run("adapmtl", dense=figures(0.4, 2.0))), ("b", run("dmtg", survivors=40))):
        (tmp_path / name).mkdir()
        write_text(tmp_path / name / "report.json", report.to_json())
    compare([tmp_path / "a", tmp_path / "b"], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "3 models: kind, depth" in page
    assert "dmtg fit --seed 0" in page
    assert page.count("<img ") == page.count("data:image/svg+xml;base64,") == 1
    assert "The training data of these runs differ." not in page
    with pytest.raises(ValueError, match="`folders` must name at least one"):
        compare([], tmp_path / "none.html")
