"""Which pod a copy goes to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.fleet import PodView, ServerState
from orchestrator.domain.placement import choose_pod
from tests.orchestrator.builders import make_view

views = st.lists(
    st.builds(
        make_view,
        st.sampled_from(["p1", "p2", "p3", "p4"]),
        known=st.booleans(),
        server=st.sampled_from(ServerState),
        draining=st.booleans(),
        terminating=st.booleans(),
        total=st.integers(0, 5),
        reserved=st.integers(0, 5),
    ),
    max_size=4,
    unique_by=lambda v: v.pod.uid,
)


@given(views, st.integers(0, 5))
def test_the_roomiest_usable_pod_with_room_whatever_the_order(pods: list[PodView], need: int) -> None:
    """Never one that is unknown, not ready or leaving; none only if none fits."""
    chosen = choose_pod(pods, need=need)
    assert choose_pod(reversed(pods), need=need) is chosen
    fitting = [p for p in pods if p.usable and p.free >= need]
    if chosen is None:
        assert not fitting
    else:
        assert chosen in fitting
        assert chosen.free == max(p.free for p in fitting)
