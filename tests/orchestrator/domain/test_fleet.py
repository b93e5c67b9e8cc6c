"""Pods as seen: where a load may go, and how much fits."""

from __future__ import annotations

import pytest

from orchestrator.domain.fleet import NODE_SILENT, PodView, ServerState
from tests.orchestrator.builders import make_pod, make_view


@pytest.mark.parametrize(
    ("view", "usable"),
    [
        (make_view(), True),
        (make_view(known=False), False),
        (make_view(server=ServerState.STARTING), False),
        (make_view(server=ServerState.LOST), False),
        (make_view(draining=True), False),
        (make_view(terminating=True), False),
        (PodView(pod=make_pod()), False),
    ],
)
def test_a_load_goes_only_where_a_server_is_ready_and_stays(view: PodView, usable: bool) -> None:
    """Any one thing against it is enough."""
    assert view.usable is usable


def test_free_is_never_negative() -> None:
    """A capacity that shrank below what is reserved leaves nothing, not less."""
    assert make_view(total=10, reserved=4).free == 6
    assert make_view(total=10, reserved=14).free == 0


def test_a_pod_on_its_way_out_ends_by_its_adapters_word_only() -> None:
    """The platform says that it leaves and not when; one that is silent may have been answered by now."""
    assert not make_view().leaving
    for view in (make_view(draining=True), make_view(terminating=True)):
        assert view.leaving
        assert not view.ending
        assert not view.coming
    assert make_view(draining=True, closing=True).ending
    assert not make_view(draining=True, closing=True, known=False).ending


def test_a_pod_that_its_node_says_nothing_of_may_come_back() -> None:
    """As any that is silent; one that is said to be broken is not waited for, unless its server is up."""
    for message, coming in (("", True), (NODE_SILENT, True), ("no node takes it", False)):
        assert PodView(pod=make_pod(message=message), unheard=True).coming is coming
    assert make_view(known=False, message="no node takes it").coming
