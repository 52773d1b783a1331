"""Several processes: with one, nothing is reduced, gathered or waited for (test_core_resume.py starts two and three)."""

import pytest
import torch

from mtl_core import ranks


def test_one_process_is_rank_0_of_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the environment says so, as `torchrun` with one process does."""
    assert ranks.connect() == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert ranks.connect() == (0, 1)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert ranks.device_index() == 3


def test_with_one_process_nothing_changes() -> None:
    """No tensor, no gradient, no waiting."""
    x, p = torch.rand(3), torch.nn.Parameter(torch.rand(2))
    assert ranks.total(x, 1) is x
    assert ranks.largest(x, 1) is x
    assert ranks.gather(x, 1) == [x]
    ranks.copy_first([x], 1)
    ranks.average_gradients([p], 1)
    assert p.grad is None
    ranks.wait(1)


def test_alone_asks_for_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others are, too: it would otherwise wait for them; and it ends with its context."""
    monkeypatch.setattr(ranks.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(ranks.dist, "get_rank", lambda: 1)
    monkeypatch.setattr(ranks.dist, "get_world_size", lambda: 2)
    with ranks.alone():
        assert ranks.connect() == (0, 1)
    assert ranks.connect() == (1, 2)


def test_an_error_of_the_connection_says_what_to_do() -> None:
    """In one line, whatever torch calls it; other errors stay what they are."""
    with (
        pytest.raises(
            ranks.RankLostError, match=r"process of this training has gone \(Connection closed by peer\). See"
        ),
        ranks.together(),
    ):
        raise torch.distributed.DistBackendError("Connection closed\nby peer")
    with pytest.raises(ValueError, match="another"), ranks.together():
        raise ValueError("another")
