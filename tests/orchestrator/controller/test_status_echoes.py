"""What the platform shows of one object's statuses: echoes of ours, or somebody else's."""

from __future__ import annotations

from orchestrator.controller.status_echoes import MOST_ECHOES, StatusEchoes
from tests.orchestrator.builders import make_status

BEFORE, FOREIGN = make_status(), make_status(active="theirs")
OURS = tuple(make_status(active=f"r{number}") for number in range(MOST_ECHOES + 1))


def test_an_echo_is_no_news_and_comes_once() -> None:
    """Those before it do not come any more."""
    echoes = StatusEchoes("u")
    for status in OURS[:3]:
        echoes.sent(status)
    assert not echoes.shown(OURS[1], BEFORE)
    assert not echoes.shown(OURS[2], OURS[1])
    assert echoes.shown(OURS[0], OURS[2])
    assert echoes.overwritten


def test_what_was_there_first_counts_until_ours_is_stored() -> None:
    """A status that is shown over it is somebody else's."""
    echoes = StatusEchoes("u")
    assert echoes.shown(FOREIGN, BEFORE)
    assert echoes.newest == BEFORE
    assert not echoes.shown(BEFORE, FOREIGN)
    echoes.sent(OURS[0])
    echoes.written(OURS[0])
    assert (echoes.newest, echoes.overwritten) == (OURS[0], False)


def test_a_write_that_failed_may_be_stored_or_not() -> None:
    """It is sent again."""
    echoes = StatusEchoes("u")
    echoes.sent(OURS[0])
    echoes.failed()
    assert (echoes.newest, echoes.overwritten) == (None, True)


def test_what_is_remembered_until_its_echo_is_bounded() -> None:
    """The oldest is taken for somebody else's then, which costs a write."""
    echoes = StatusEchoes("u")
    for status in OURS:
        echoes.sent(status)
    assert not echoes.shown(OURS[1], BEFORE)
    assert echoes.shown(OURS[0], OURS[1])
