"""
The mesh as the controller sees it: routes out, acknowledgements back.

A route counts as accepted when every Envoy that *exists* holds exactly its
current version on a live stream. The platform tells which Envoys exist
(`expect`). The connected ones are the wrong set: a frozen Envoy would not be
waited for, though it still routes as before. But of the Envoys whose node is
silent only the connected ones count: they are alive, and the others may be gone
with their node. With no Envoy expected no route is accepted, since no request
would be answered either.

No ACK costs a walk over all models: a view asks each expected node's session,
and a callback names the models that an ACK settled. Only rare events name every
model: an Envoy that connects, or a changed set of Envoys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from orchestrator.domain.routes import Route, RouteView
from orchestrator.machinery.figures import Figure, gauge
from orchestrator.mesh.counts import MeshCounts
from orchestrator.mesh.resources import ClusterFactory, model_of, resource_name
from orchestrator.mesh.session import Outcome, Request, Response, Session
from orchestrator.mesh.snapshot import Snapshot


class Connection:
    """One Envoy's stream. The shell writes `responses()` whenever it is woken, until `closed`."""

    __slots__ = ("_counts", "_now", "_pushed_at", "_wake", "closed", "node", "session")

    def __init__(
        self,
        node: str,
        session: Session,
        wake: Callable[[], None],
        *,
        counts: MeshCounts,
        now: Callable[[], float],
    ) -> None:
        self.node: Final = node
        self.session: Final = session
        #: Superseded by a newer stream of the same node.
        self.closed = False
        self._wake = wake
        self._counts = counts
        self._now = now
        #: When the outstanding response was given to the stream.
        self._pushed_at = 0.0

    def responses(self) -> list[Response]:
        """The responses to write now."""
        responses = self.session.responses()
        for _ in responses:
            self._pushed_at = self._now()
            self._counts.pushed()
        return responses

    def receive(self, request: Request) -> Outcome:
        """Take a request; returns what it changed."""
        now = self._now()
        outcome = self.session.receive(request, now)
        if outcome.answered:
            self._counts.answered(now - self._pushed_at, refused=request.error is not None)
        return outcome

    def wake(self) -> None:
        """Tell the shell that there may be responses to write."""
        self._wake()


class Router:
    """Implements `orchestrator.ports.Mesh` over the sessions of the connected Envoys."""

    def __init__(
        self,
        *,
        clusters: ClusterFactory,
        now: Callable[[], float],
        on_change: Callable[[frozenset[str]], None],
    ) -> None:
        self._snapshot = Snapshot(clusters)
        self._now = now
        self._on_change = on_change
        self._existing: frozenset[str] = frozenset()
        self._unheard: frozenset[str] = frozenset()
        #: Node → its newest stream.
        self._connections: dict[str, Connection] = {}
        self._counts = MeshCounts()

    # -- the controller's side -------------------------------------------------

    def publish(self, route: Route) -> None:
        """Make this the model's route; an equal one changes nothing."""
        resource = self._snapshot.publish(route, self._now())
        if resource is None:
            return
        for connection in self._connections.values():
            connection.session.touch(resource.name)
            connection.wake()

    def remove(self, model: str) -> None:
        """Forget the model's route in every connected Envoy; one that connects later shows it as a stranger."""
        self._snapshot.remove(model)
        for connection in self._connections.values():
            connection.session.remove(resource_name(model))
            connection.wake()

    def view(self, model: str) -> RouteView | None:
        """The published route and its ACKs; None if no route of this model is published here."""
        published = self._snapshot.get(model)
        if published is None:
            return None
        name, version = published.resource.name, published.resource.version
        accepted: list[float] = []
        refused = ""
        expected = self._expected
        for node in expected:
            connection = self._connections.get(node)
            if connection is None:
                continue
            at = connection.session.accepted_at(name, version)
            if at is not None:
                accepted.append(at)
            refused = refused or connection.session.refusal(name, version)
        acked = bool(expected) and len(accepted) == len(expected)
        return RouteView(
            route=published.route,
            acked=acked,
            since=published.since,
            acked_at=max(published.since, *accepted) if acked else None,
            refused=refused,
        )

    def expect(self, nodes: frozenset[str], unheard: frozenset[str] = frozenset(), /) -> None:
        """The Envoys that exist: each has to accept a route. Those in `unheard` (silent nodes) only while connected."""
        if (nodes, unheard) == (self._existing, self._unheard):
            return
        self._existing, self._unheard = nodes, unheard
        self._announce(frozenset(self._snapshot))

    @property
    def _expected(self) -> frozenset[str]:
        return self._existing | (self._unheard & self._connections.keys()) if self._unheard else self._existing

    def strangers(self) -> frozenset[str]:
        """Models that some Envoy has a route for, which was not published here."""
        return self._models(name for connection in self._connections.values() for name in connection.session.strangers)

    def stranger(self, model: str) -> bool:
        """Whether some Envoy has a route for that model, which was not published here."""
        name = resource_name(model)
        return any(connection.session.is_stranger(name) for connection in self._connections.values())

    def connected(self) -> frozenset[str]:
        """The nodes with a live stream."""
        return frozenset(self._connections)

    def figures(self) -> list[Figure]:
        """Responses and answers, and how many Envoys are connected and expected."""
        return [
            *self._counts.figures(),
            gauge("wml_mesh_nodes_connected", "Envoys that are connected.", len(self._connections)),
            gauge(
                "wml_mesh_nodes_expected",
                "Envoys that get requests: READY waits for each of them.",
                len(self._expected),
            ),
            gauge("wml_routes", "Models that have a route.", len(self._snapshot)),
        ]

    # -- the shell's side ------------------------------------------------------

    def connect(self, node: str, first: Request, wake: Callable[[], None]) -> Connection:
        """A node's stream began with that request. An older stream of the node is closed: the newer one counts."""
        session = Session(self._snapshot.resources, first, self._now())
        connection = Connection(node, session, wake, counts=self._counts, now=self._now)
        earlier = self._connections.get(node)
        self._connections[node] = connection
        if earlier is not None:
            earlier.closed = True
            earlier.wake()
        wake()
        self._announce(self._models(connection.session.holding | connection.session.strangers))
        return connection

    def receive(self, connection: Connection, request: Request) -> tuple[tuple[str, str], ...]:
        """Take a request; returns the models whose route was refused in it, with the Envoy's words."""
        if connection.closed:
            return ()
        outcome = connection.receive(request)
        connection.wake()
        self._announce(self._models(outcome.settled))
        return tuple((model, words) for name, words in outcome.refused if (model := model_of(name)) is not None)

    def disconnect(self, connection: Connection) -> None:
        """The stream ended. Its node's routes count as not accepted until it is back."""
        if self._connections.get(connection.node) is connection:
            del self._connections[connection.node]
            if connection.node in self._unheard:
                # The node is not expected any more, and its ACK may have been the only one that routes waited for.
                self._announce(frozenset(self._snapshot))
        connection.closed = True

    def _announce(self, models: frozenset[str]) -> None:
        if models:
            self._on_change(models)

    @staticmethod
    def _models(names: Iterable[str]) -> frozenset[str]:
        return frozenset(model for name in names if (model := model_of(name)) is not None)
