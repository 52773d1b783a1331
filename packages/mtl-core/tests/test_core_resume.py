"""Stopped anywhere, the same command continues and ends with the weights of the training that was never stopped."""

import json
import random
import signal
from typing import Any

import pytest

Obey = Any


def done(found: tuple[list[int], list[dict[str, Any]]]) -> dict[str, Any]:
    statuses, results = found
    assert set(statuses) == {0}
    return results[0]


def kept(found: dict[str, Any]) -> dict[str, Any]:
    """Everything but how much had to be computed for it; as text, NaN equals itself."""
    return {key: json.dumps(value) for key, value in found.items() if key != "computed"}


PLACES = [("losses", 1), ("losses", 5), ("write", 3), ("write", 4), ("seal", 4), ("rename", 3), ("forget", 2)]


@pytest.mark.parametrize("what", ["fit", "phases", "single"])
def test_after_sigkill_the_weights_are_those_of_the_run_that_was_never_stopped(obey: Obey, what: str) -> None:
    """In mid-epoch, while a checkpoint is written, sealed, renamed or forgotten, and again and again in one run."""
    whole = done(obey(what))
    for number, (place, count) in enumerate(PLACES):
        folder = f"{what}-{number}"
        assert obey(what, folder, at=[place, count, signal.SIGKILL])[0] == [-signal.SIGKILL]
        if number % 3 == 2:
            obey(what, folder, at=[place, count, signal.SIGKILL])
        again = done(obey(what, folder))
        assert kept(again) == kept(whole), (place, count)
    assert whole["computed"] > again["computed"] > 0


ACCEPTED = {"SIGKILL": {-9}, "SIGTERM": {143, -15}, "SIGINT": {130}}
"""Exit statuses; before a phase has begun SIGTERM ends a process as it ends any other. 0: it came too late."""


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("what", ["fit", "single"])
def test_at_a_random_moment_a_signal_costs_nothing(obey: Obey, what: str, name: str) -> None:
    """One draw, uniform over the time of the whole run, checkpoint after every step; the studies make twenty of each."""
    whole = done(obey(what, "whole"))
    moment = random.Random(f"{what} {name}").random() * obey.seconds
    (status,), _ = obey(what, "a", after=[moment, getattr(signal, name)])
    assert status in ACCEPTED[name] | {0}
    assert kept(done(obey(what, "a"))) == kept(whole)


def test_between_phases_the_first_is_loaded_and_not_run_again(obey: Obey) -> None:
    """Killed in the second phase, only what was left of it is computed; once finished, nothing is."""
    whole = done(obey("phases"))
    per_phase = whole["computed"] // 2
    assert obey("phases", "a", at=["losses", per_phase + 3, signal.SIGKILL])[0] == [-signal.SIGKILL]
    again = done(obey("phases", "a"))
    assert kept(again) == kept(whole)
    assert again["computed"] == per_phase - 2
    finished = done(obey("phases", "a"))
    assert (finished["computed"], kept(finished)) == (0, kept(whole))


def test_without_a_checkpoint_in_time_the_phase_starts_again(obey: Obey) -> None:
    """The default of 60 s leaves none in a short training; the weights are the same all the same."""
    obey("fit", "a", at=["losses", 5, signal.SIGKILL], checkpoint_seconds=60)
    again = done(obey("fit", "a", checkpoint_seconds=60))
    assert again["computed"] == done(obey("fit"))["computed"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("what", ["fit", "single"])
def test_a_stop_request_writes_a_checkpoint_and_says_why_it_ended(
    obey: Obey, what: str, number: int, status: int
) -> None:
    """SIGTERM: 143, Ctrl-C: 130; not one step is computed twice."""
    whole = done(obey(what))
    at = ["losses", 4, number]
    assert obey(what, "a", at=at, checkpoint_seconds=1000)[0] == [status]
    again = done(obey(what, "a", checkpoint_seconds=1000))
    assert kept(again) == kept(whole)
    assert again["computed"] == whole["computed"] - 4


def test_a_stop_request_in_the_last_step_is_not_lost(obey: Obey) -> None:
    """The phase ends, is kept as finished, and the next one does not begin."""
    per_phase = done(obey("phases"))["computed"] // 2
    assert obey("phases", "a", at=["losses", per_phase, signal.SIGTERM])[0] == [143]
    assert done(obey("phases", "a"))["computed"] == per_phase


def close(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k], tolerance) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(close(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return bool(a == b or abs(a - b) <= tolerance or (a != a and b != b))


def test_two_ranks_equal_one_process_with_the_doubled_batch(obey: Obey) -> None:
    """Twenty steps, labels missing unevenly, a source on one rank only, learned weights: weights, history, metrics to 1e-5."""
    (one,) = obey("ranks")[1]
    statuses, two = obey("ranks", "a", world=2)
    assert statuses == [0, 0]
    assert one["steps"] == 20
    for key in ("weights", "history", "metrics", "losses", "sample"):
        assert close(one[key], two[0][key], 1e-5), key
        assert close(two[0][key], two[1][key], 0 if key == "weights" else 1e-12), key
    assert one["metrics"]["kind"] == two[0]["metrics"]["kind"]


@pytest.mark.parametrize("late", [0, 1])
def test_ranks_that_draw_models_of_their_own_begin_with_that_of_rank_0(obey: Obey, late: int) -> None:
    """Whichever of them is the first to look at the fingerprint; the same folder takes both again."""
    for _ in range(2):
        statuses, (one, other) = obey("own", "a", world=2, at=["compare", 1, "late"], rank=late)
        assert statuses == [0, 0]
        assert one["drawn"] != other["drawn"]
        assert one["sha"] == other["sha"] == one["drawn"]


@pytest.mark.parametrize("late", [0, 1])
def test_ranks_of_another_training_are_refused(obey: Obey, late: int) -> None:
    """In a new folder too, whichever of them is the first to look at the fingerprint."""
    statuses, _ = obey("own", "a", world=2, at=["compare", 1, "late"], rank=late, rates=[0.01, 0.02], fails=True)
    assert statuses == [70, 70]
    assert obey.errors[0].startswith("RankLostError: ")
    assert obey.errors[1].startswith("StorageError: ")
    assert "0.01" in obey.errors[1]


def test_three_ranks_share_what_two_share(obey: Obey) -> None:
    """A batch of one sample on each: some rank has no label of a task, or no view at all."""
    statuses, three = obey("norms", "a", world=3)
    assert statuses == [0, 0, 0]
    assert len({found["sha"] for found in three}) == 1


def test_two_ranks_resume_bit_by_bit(obey: Obey) -> None:
    """SIGTERM on both; the same command continues, and every rank ends with equal weights and norms."""
    whole = obey("norms", "whole", world=2)[1]
    assert obey("norms", "a", world=2, at=["losses", 6, signal.SIGTERM])[0] == [143, 143]
    again = obey("norms", "a", world=2)[1]
    assert again[0]["sha"] == again[1]["sha"] == whole[0]["sha"]
    assert again[0]["computed"] == whole[0]["computed"] - 6


def test_norms_of_two_ranks_are_not_those_of_one_process(obey: Obey) -> None:
    """Each measures its own half of the batch: the losses differ after twenty steps, by little."""
    (one,), two = obey("ranks", norm=True)[1], obey("ranks", "a", world=2, norm=True)[1][0]
    largest = max(abs(two["losses"][name] / loss - 1) for name, loss in one["losses"].items())
    assert 0.0025 < largest < 0.0035  # the README says 0.3 %


@pytest.mark.parametrize(
    ("victim", "at"), [(None, ["losses", 5]), (None, ["write", 6]), (0, ["wait", 17]), (1, ["write", 6])]
)
def test_two_ranks_of_which_one_or_both_are_killed_resume_bit_by_bit(
    obey: Obey, victim: int | None, at: list[Any]
) -> None:
    """Also while a checkpoint is written; the one that is left ends within the minute, and says why in one line."""
    whole = obey("norms", "whole", world=2)[1]
    killed = {} if victim is None else {"rank": victim}
    statuses, _ = obey("norms", "a", world=2, at=[*at, signal.SIGKILL], fails=True, **killed)
    if victim is None:  # the second may hear of the first before its own turn
        assert statuses in ([-9, -9], [-9, 70], [70, -9])
    else:
        assert statuses == [-9 if rank == victim else 70 for rank in range(2)]
        (said,) = obey.errors
        assert said.startswith("RankLostError: Another process of this training has gone (")
        assert said.endswith("give the same command again: it continues from the last checkpoint.")
        assert obey.seconds < 60
    again = obey("norms", "a", world=2)[1]
    assert [found["sha"] for found in again] == [found["sha"] for found in whole]


def test_a_rank_with_an_error_ends_the_others(obey: Obey) -> None:
    """Its own error is its own; the other says that it has gone. Nothing is damaged."""
    whole = obey("norms", "whole", world=2)[1]
    statuses, _ = obey("norms", "a", world=2, at=["losses", 5, "raise"], rank=1, fails=True)
    assert statuses == [70, 70]
    assert obey.errors[0].startswith("RankLostError: Another process of this training has gone (")
    assert obey.errors[1] == "ValueError: This rank has had enough."
    assert obey.seconds < 60
    assert obey("norms", "a", world=2)[1][1]["sha"] == whole[1]["sha"]


def test_trainings_spread_over_two_ranks_are_those_of_one_process(obey: Obey) -> None:
    """Each rank trains its share, measures it alone, and then loads all: equal bits on both, and as trained by one."""
    whole = done(obey("single"))
    statuses, two = obey("single", "a", world=2)
    assert statuses == [0, 0]
    assert kept(two[0]) == kept(two[1]) == kept(whole)
    assert two[0]["computed"] + two[1]["computed"] == whole["computed"]


def test_ranks_without_a_common_folder_cannot_spread(obey: Obey) -> None:
    """Nobody could load what another has trained."""
    assert obey("single", None, world=2)[0] == [70, 70]
