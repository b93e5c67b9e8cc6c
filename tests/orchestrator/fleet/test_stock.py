"""What the runtime pods have, added up by runtime."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.fleet import PodView, ServerState
from orchestrator.fleet.stock import stock
from tests.orchestrator.builders import make_pod, make_view


def test_bytes_are_added_up_by_runtime() -> None:
    """Each runtime for itself, a silent pod with what it said last."""
    views = [
        replace(make_view("p1"), total=100, reserved=40),
        replace(make_view("p2"), total=100, reserved=10, known=False),
        replace(make_view("p3"), pod=make_pod("p3", runtime="triton-2.x"), total=50, reserved=50),
    ]
    capacity, reserved = stock(views)[1:]
    assert capacity.samples == {("mlserver-0.x",): 200, ("triton-2.x",): 50}
    assert reserved.samples == {("mlserver-0.x",): 50, ("triton-2.x",): 50}


@pytest.mark.parametrize(
    ("view", "state"),
    [
        (make_view("p1"), "ready"),
        (replace(make_view("p1"), server=ServerState.STARTING), "starting"),
        (replace(make_view("p1"), server=ServerState.LOST), "lost"),
        (replace(make_view("p1"), draining=True), "draining"),
        (replace(make_view("p1"), draining=True, known=False), "silent"),
        (replace(make_view("p1"), pod=replace(make_pod("p1"), adapter=""), known=False), "pending"),
        (replace(make_view("p1"), pod=replace(make_pod("p1"), terminating=True), known=False), "terminating"),
    ],
)
def test_a_pod_is_in_one_state(view: PodView, state: str) -> None:
    """The first that holds: what is about to go says more than what its server does."""
    assert stock([view])[0].samples == {("mlserver-0.x", state): 1}
