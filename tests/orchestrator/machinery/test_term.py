"""One leader's term."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.errors import Deposed, LeadLost
from orchestrator.machinery.term import Term


@pytest.mark.parametrize("epoch", [0, 6, 7])
def test_an_epoch_that_is_not_higher_is_no_news(epoch: int) -> None:
    """Its own comes back from every adapter; an old leader's is what fences are for."""
    term = Term(7)
    term.hear(epoch, "pod")
    assert (term.over, term.successor) == (False, 0)


async def test_a_higher_epoch_ends_the_term() -> None:
    """Whoever runs it learns of it, with both numbers; that is said once, and the highest is kept."""
    term = Term(7)
    running = asyncio.create_task(term.run())
    await asyncio.sleep(0)
    assert not running.done()
    with capture_logs() as lines:
        for epoch in (8, 10, 9):
            term.hear(epoch, "pod")
    with pytest.raises(Deposed, match="another leads, of epoch 10; this one's was 7"):
        await running
    assert (term.over, term.successor) == (True, 10)
    assert [(line["event"], line["successor"], line["told_by"]) for line in lines] == [("deposed", 8, "pod")]


async def test_a_lead_that_is_lost_ends_the_term() -> None:
    """Without a successor that anybody has heard of; what is said first is why it ended."""
    term = Term(7)
    with capture_logs() as lines:
        term.lose("nobody confirmed it")
        term.lose("again")
        term.hear(8, "pod")
    with pytest.raises(LeadLost, match="the lead of epoch 7 is lost: nobody confirmed it"):
        await term.run()
    assert (term.over, term.successor) == (True, 8)
    assert [line["event"] for line in lines] == ["lead_lost"]


async def test_who_was_deposed_has_nothing_to_lose() -> None:
    """The successor's epoch is the better news."""
    term = Term(7)
    term.hear(8, "pod")
    term.lose("nobody confirmed it")
    with pytest.raises(Deposed):
        await term.run()


async def test_a_lead_that_has_run_out_is_over_before_anybody_says_so() -> None:
    """Who was frozen asks before its timers tell it; who runs the term still learns why when they do."""
    term = Term(7, holds=lambda: False)
    assert term.over
    term.lose("its time ran out")
    with pytest.raises(LeadLost, match="its time ran out"):
        await term.run()
