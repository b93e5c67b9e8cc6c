"""Removals: who may be taken away at once, and what is said of those that may not."""

from __future__ import annotations

from collections.abc import Sequence

from structlog.testing import capture_logs

from orchestrator.controller.removals import Removals
from orchestrator.controller.residency import Residency
from orchestrator.domain.brake import WINDOW_S
from orchestrator.domain.fleet import Copy, CopyState
from orchestrator.domain.observation import Observation
from orchestrator.domain.trained_model import TrainedModel
from tests.orchestrator.builders import make_copy, make_key, make_model, make_view
from tests.orchestrator.controller.fakes import FakePlatform


class Bench:
    """Ten models serve."""

    def __init__(self) -> None:
        self.now = 0.0
        self.platform = FakePlatform()
        residency = Residency()
        for n in range(10):
            residency.look([make_copy(key=make_key(model=f"m{n}"))], f"m{n}", 0.0)
        self.removals = Removals(residency=residency, recorder=self.platform, clock=lambda: self.now)

    def wait(self, name: str, *, model: TrainedModel | None = None, copies: Sequence[Copy] | None = None) -> float:
        """Of a model that is not listed, and whose copy is loaded, unless told otherwise."""
        held = [make_copy(key=make_key(model=name))] if copies is None else copies
        seen = Observation(name=name, model=model, target=None, pods=(make_view(),), copies=tuple(held))
        return self.removals.wait(seen)

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(name, reason) for name, _, reason, _ in self.platform.events]


def test_where_every_absence_is_a_deletion_nothing_is_held() -> None:
    """A directory that can be read, and a file that is not in it."""
    bench = Bench()
    bench.removals.listed(None)
    assert [bench.wait(f"m{n}") for n in range(10)] == [0.0] * 10


def test_what_was_said_to_be_deleted_is_never_held_and_never_counts() -> None:
    """A watch event each; another object of the same name is another matter."""
    bench = Bench()
    bench.removals.listed({(f"m{n}", f"uid-m{n}") for n in range(8)})
    bench.removals.listed(())
    assert [bench.wait(f"m{n}") for n in range(8)] == [0.0] * 8
    bench.removals.deleted({("m9", "uid-m9")})
    assert bench.wait("m9") == 0.0
    assert bench.wait("m8") == 0.0
    assert bench.wait("m0", copies=[]) == 0.0
    assert bench.wait("m0", copies=[make_copy(key=make_key(model="m0", uid="later"))]) == 0.0
    assert bench.wait("m1", copies=[make_copy(key=make_key(model="m1", uid="later"))]) == WINDOW_S


def test_what_is_merely_missing_goes_by_fifths_and_is_told_once() -> None:
    """That it is held back and why, when the next go, and when it is let go."""
    bench = Bench()
    bench.removals.listed(())
    with capture_logs() as lines:
        assert [bench.wait(name) for name in ("m0", "m1", "m2", "m2")] == [0.0, 0.0, WINDOW_S, WINDOW_S]
        bench.now = WINDOW_S
        assert bench.wait("m2") == 0.0
    assert bench.events == [("m2", "RemovalHeld"), ("m2", "RemovalLetGo")]
    (_, warning, _, message), _ = bench.platform.events
    assert warning
    assert "nobody said that it was deleted" in message
    assert [line["event"] for line in lines] == ["removal_held", "removal_let_go"]


def test_another_object_of_the_name_does_not_take_its_copy_at_once() -> None:
    """Objects that were restored from a backup have other uids, all of them."""
    bench = Bench()
    bench.removals.listed(())
    waits = [bench.wait(f"m{n}", model=make_model(f"m{n}", uid="restored")) for n in range(3)]
    assert waits == [0.0, 0.0, WINDOW_S]


def test_what_is_listed_again_is_not_removed() -> None:
    """And that is told."""
    bench = Bench()
    bench.removals.listed(())
    for name in ("m0", "m1", "m2"):
        bench.wait(name)
    assert bench.wait("m2", model=make_model("m2")) == 0.0
    assert bench.events == [("m2", "RemovalHeld"), ("m2", "RemovalCalledOff")]


def test_what_does_not_serve_is_not_held() -> None:
    """Nor what is evicted or replaced: its object is there."""
    bench = Bench()
    bench.removals.listed(())
    for name in ("m0", "m1"):
        bench.wait(name)
    assert bench.wait("m2", copies=[make_copy(CopyState.FAILED, key=make_key(model="m2"))]) == 0.0
    assert bench.wait("m3", model=make_model("m3")) == 0.0
    assert bench.wait("m4") > 0
