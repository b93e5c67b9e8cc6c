"""The mesh as the controller sees it, over sessions that a test answers for."""

from __future__ import annotations

from orchestrator.domain.routes import Route
from orchestrator.mesh.resources import ClusterFactory
from orchestrator.mesh.router import Connection, Router
from orchestrator.mesh.session import Request
from orchestrator.ports import Mesh

ROUTE = Route("a", ("127.0.0.1:1",))
OTHER = Route("b", ("127.0.0.1:1",))


class Bench:
    """A router, its clock and what it announced."""

    def __init__(self, *expected: str) -> None:
        self.now = 0.0
        self.changes: list[frozenset[str]] = []
        self.wakes = 0
        self.router = Router(
            clusters=ClusterFactory(activator="127.0.0.1:9"), now=lambda: self.now, on_change=self.changes.append
        )
        self.router.expect(frozenset(expected))

    def connect(self, node: str, held: dict[str, str] | None = None) -> Connection:
        return self.router.connect(node, Request(initial_versions=held or {}), self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    def answer(self, connection: Connection, error: str | None = None) -> tuple[tuple[str, str], ...]:
        """The Envoy answers all that there is to answer."""
        refusals: tuple[tuple[str, str], ...] = ()
        while responses := connection.responses():
            refusals += self.router.receive(connection, Request(nonce=responses[0].nonce, error=error))
        return refusals

    def acked(self, model: str = "a") -> bool:
        view = self.router.view(model)
        assert view is not None
        return view.acked

    def version(self, model: str) -> str:
        """The hash under which the model is published now."""
        probe = self.router.connect("probe", Request(), lambda: None)
        (response,) = probe.responses()
        self.router.disconnect(probe)
        return next(made.version for made in response.resources if made.name == f"model/{model}")


def test_it_is_the_port() -> None:
    """mypy checks the signatures."""
    mesh: Mesh = Bench().router
    assert mesh.view("a") is None


def test_without_an_expected_envoy_nothing_is_accepted() -> None:
    """No request would be answered either."""
    bench = Bench()
    bench.router.publish(ROUTE)
    connection = bench.connect("mesh-0")
    bench.answer(connection)
    assert not bench.acked()


def test_every_envoy_that_exists_has_to_accept() -> None:
    """A connected one that accepted does not stand for one that is frozen, or not there."""
    bench = Bench("mesh-0", "mesh-1")
    bench.router.publish(ROUTE)
    first = bench.connect("mesh-0")
    bench.answer(first)
    assert not bench.acked()
    frozen = bench.connect("mesh-1")
    assert frozen.responses()
    assert not bench.acked()
    bench.router.expect(frozenset({"mesh-0"}))
    assert bench.acked()


def test_of_those_that_nobody_has_heard_of_the_connected_have_to_accept() -> None:
    """They are alive. The others may be gone with their node, and nothing waits for them."""
    bench = Bench()
    bench.router.expect(frozenset(), frozenset({"mesh-0", "mesh-1", "mesh-2"}))
    bench.router.publish(ROUTE)
    assert not bench.acked()
    bench.answer(bench.connect("mesh-0"))
    assert bench.acked()
    frozen = bench.connect("mesh-1")
    assert frozen.responses()
    assert not bench.acked()
    bench.changes.clear()
    bench.router.disconnect(frozen)
    assert bench.acked()
    assert bench.changes == [frozenset({"a"})]
    bench.router.expect(frozenset({"mesh-1"}), frozenset({"mesh-0"}))
    assert not bench.acked()


def test_the_view_says_when_the_last_ack_came() -> None:
    """Grace periods count from there."""
    bench = Bench("mesh-0", "mesh-1")
    bench.now = 1.0
    bench.router.publish(ROUTE)
    for node, at in (("mesh-0", 3.0), ("mesh-1", 5.0)):
        connection = bench.connect(node)
        bench.now = at
        bench.answer(connection)
    view = bench.router.view("a")
    assert view is not None
    assert (view.route, view.acked, view.since, view.acked_at, view.refused) == (ROUTE, True, 1.0, 5.0, "")


def test_a_new_version_has_to_be_accepted_anew() -> None:
    """And publishing an equal route does not."""
    bench = Bench("mesh-0")
    connection = bench.connect("mesh-0")
    bench.router.publish(ROUTE)
    bench.answer(connection)
    bench.router.publish(ROUTE)
    assert bench.acked()
    bench.router.publish(Route("a"))
    assert not bench.acked()
    bench.answer(connection)
    assert bench.acked()


def test_an_ack_names_only_the_models_in_it() -> None:
    """Thousands of models are not looked at because of one."""
    bench = Bench("mesh-0")
    connection = bench.connect("mesh-0")
    bench.router.publish(ROUTE)
    bench.answer(connection)
    bench.changes.clear()
    bench.router.publish(OTHER)
    bench.answer(connection)
    assert bench.changes == [frozenset({"b"})]


def test_publishing_wakes_every_stream() -> None:
    """The shell writes when it is woken, and only then."""
    bench = Bench()
    bench.connect("mesh-0")
    bench.connect("mesh-1")
    bench.wakes = 0
    bench.router.publish(ROUTE)
    assert bench.wakes == 2
    bench.router.publish(ROUTE)
    assert bench.wakes == 2


def test_a_refusal_shows_in_the_view() -> None:
    """With Envoy's words, until the route changes."""
    bench = Bench("mesh-0")
    bench.router.publish(ROUTE)
    assert bench.answer(bench.connect("mesh-0"), error="no") == (("a", "no"),)
    view = bench.router.view("a")
    assert view is not None
    assert (view.acked, view.refused) == (False, "no")
    assert bench.changes[-1] == {"a"}


def test_a_node_that_is_gone_no_longer_counts_as_having_accepted() -> None:
    """Its routes may be what they were; nobody knows."""
    bench = Bench("mesh-0")
    bench.router.publish(ROUTE)
    connection = bench.connect("mesh-0")
    bench.answer(connection)
    bench.router.disconnect(connection)
    assert not bench.acked()
    assert bench.router.connected() == frozenset()


def test_a_reconnect_with_equal_hashes_is_accepted_and_announced() -> None:
    """Nothing is sent."""
    bench = Bench("mesh-0")
    bench.router.publish(ROUTE)
    connection = bench.connect("mesh-0", {"model/a": bench.version("a")})
    assert connection.responses() == []
    assert bench.acked()
    assert bench.changes[-1] == {"a"}


def test_the_newer_stream_of_a_node_is_the_truth() -> None:
    """The older is closed, and what it still says counts for nothing."""
    bench = Bench("mesh-0")
    bench.router.publish(ROUTE)
    older = bench.connect("mesh-0")
    (response,) = older.responses()
    newer = bench.connect("mesh-0")
    assert older.closed
    assert bench.router.receive(older, Request(nonce=response.nonce)) == ()
    assert not bench.acked()
    bench.router.disconnect(older)
    bench.answer(newer)
    assert bench.acked()


def test_strangers_are_announced_and_leave_when_told() -> None:
    """Of an Envoy that was there before this leader; other kinds of cluster are none of ours."""
    bench = Bench("mesh-0")
    connection = bench.connect("mesh-0", {"model/old": "1", "something": "1"})
    assert bench.changes == [frozenset({"old"})]
    assert bench.router.strangers() == {"old"}
    assert connection.responses() == []
    bench.router.remove("old")
    (response,) = connection.responses()
    assert response.removed == ("model/old",)
    assert bench.router.strangers() == frozenset()


def test_a_changed_set_of_envoys_announces_every_route() -> None:
    """Whether they are accepted may have changed for all of them; an equal set says nothing."""
    bench = Bench("mesh-0")
    bench.router.publish(ROUTE)
    bench.router.publish(OTHER)
    bench.router.expect(frozenset({"mesh-0"}))
    assert bench.changes == []
    bench.router.expect(frozenset({"mesh-1"}))
    assert bench.changes == [frozenset({"a", "b"})]
