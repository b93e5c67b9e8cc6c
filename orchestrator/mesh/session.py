"""
The ledger of one Envoy's delta-xDS stream: what it was sent, took and refused.

Sans-IO: the shell hands over each request with `receive` and must then write
what `responses` returns, also after each `touch` and `remove`. The published
resources belong to the snapshot and are only read here.

- The subscription is the wildcard: an Envoy holds every model.
- One response is outstanding at a time; changes that come meanwhile coalesce,
  so that a slow Envoy is sent the latest state and never a backlog.
- A refusal (NACK) does not name the bad resource reliably. The names of a
  refused response are therefore sent again one by one, and a resource that is
  refused alone counts as refused: one bad resource delays its neighbours a bit.
- A resource that the Envoy holds and this leader has not published is a
  stranger. It is reported, and removed only when told (law 9: absence never
  deletes): a leader that knows little destroys nothing.

Not promised: that an accepted resource is live on every worker thread; Envoy
posts it to them after it has acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from orchestrator.mesh.resources import Resource

#: Most names in one response, except the first: keeps each push to Envoy's main thread short.
MAX_NAMES: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The used fields of a DeltaDiscoveryRequest. `initial_versions` counts in the stream's first request only."""

    nonce: str = ""
    #: The Envoy's error text if it refused the response with that nonce.
    error: str | None = None
    initial_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A DeltaDiscoveryResponse to write."""

    nonce: str
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a request changed."""

    #: Whether it answered the outstanding response.
    answered: bool = False
    #: Names that the Envoy now holds as published, or has refused.
    settled: frozenset[str] = frozenset()
    #: The settled names that the Envoy refused, each with its error text.
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Held:
    #: None: the Envoy holds one of several versions.
    version: str | None
    at: float


_UNCERTAIN: Final = _Held(None, 0.0)


@dataclass(frozen=True, slots=True)
class _Sent:
    #: None = a removal.
    version: str | None
    #: What the Envoy held before this was sent.
    before: _Held | None


@dataclass(frozen=True, slots=True)
class _Outstanding:
    nonce: str
    sent: Mapping[str, _Sent]


class Session:
    """One stream, from its first request on."""

    __slots__ = (
        "_doomed",
        "_held",
        "_nonces",
        "_outstanding",
        "_owes_first",
        "_pending",
        "_published",
        "_refused",
        "_strangers",
        "_suspects",
    )

    def __init__(self, published: Mapping[str, Resource], first: Request, now: float) -> None:
        self._published = published
        #: What the Envoy holds, or may hold.
        self._held = {name: _Held(version, now) for name, version in first.initial_versions.items()}
        #: Names that the Envoy holds, that are not published, and whose removal was not asked for.
        self._strangers = {name for name in self._held if name not in published}
        #: Names that may differ from what is published, in order of change.
        self._pending: dict[str, None] = {
            name: None for name, resource in published.items() if first.initial_versions.get(name) != resource.version
        }
        #: Names whose response of several was refused: to be sent alone.
        self._suspects: dict[str, None] = {}
        #: Name that was refused when sent alone → (version, the Envoy's error text).
        self._refused: dict[str, tuple[str, str]] = {}
        #: Names whose removal is to be sent.
        self._doomed: dict[str, None] = {}
        self._outstanding: _Outstanding | None = None
        self._nonces = 0
        # An Envoy that holds nothing waits for its first snapshot, even an empty one.
        self._owes_first = not self._held

    def is_stranger(self, name: str) -> bool:
        """Whether the Envoy holds that name and it was not published here."""
        return name in self._strangers

    @property
    def strangers(self) -> frozenset[str]:
        """Names that the Envoy holds and that were not published here."""
        return frozenset(self._strangers)

    @property
    def holding(self) -> frozenset[str]:
        """Names that the Envoy holds exactly as published."""
        return frozenset(
            name for name, resource in self._published.items() if self.accepted_at(name, resource.version) is not None
        )

    def accepted_at(self, name: str, version: str) -> float | None:
        """When the Envoy accepted that version; None if it does not hold exactly that."""
        held = self._held.get(name)
        return held.at if held is not None and held.version == version else None

    def refusal(self, name: str, version: str) -> str:
        """The Envoy's error text if it refused that version, else ""."""
        refused = self._refused.get(name)
        return refused[1] if refused is not None and refused[0] == version else ""

    def touch(self, name: str) -> None:
        """A new version of the name was published."""
        self._strangers.discard(name)
        self._doomed.pop(name, None)
        self._pending[name] = None

    def remove(self, name: str) -> None:
        """The name is no longer published, and is to be removed from the Envoy as well."""
        self._strangers.discard(name)
        self._pending.pop(name, None)
        self._suspects.pop(name, None)
        self._refused.pop(name, None)
        if name in self._held:
            self._doomed[name] = None

    def receive(self, request: Request, now: float) -> Outcome:
        """Take a request; one that answers no outstanding response changes nothing."""
        outstanding = self._outstanding
        if outstanding is None or request.nonce != outstanding.nonce:
            return Outcome()
        self._outstanding = None
        if request.error is None:
            return self._accept(outstanding.sent, now)
        return self._refuse(outstanding.sent, request.error)

    def responses(self) -> list[Response]:
        """The responses to write now; none while one is outstanding."""
        if self._outstanding is not None:
            return []
        resources: tuple[Resource, ...] = ()
        removed: tuple[str, ...] = ()
        if self._suspects and not self._owes_first:
            resources = self._take(self._suspects, 1)
        if not resources:
            # The first response has all resources: an Envoy must not go live with a part of them.
            resources = self._take(self._pending, len(self._pending) if self._owes_first else MAX_NAMES)
        if not resources and not self._owes_first:
            removed = tuple(self._doomed)[:MAX_NAMES]
        if not (resources or removed or self._owes_first):
            return []
        self._owes_first = False
        for name in removed:
            del self._doomed[name]
        self._nonces += 1
        sent: dict[str, _Sent] = {}
        for name, version in (*((made.name, made.version) for made in resources), *((name, None) for name in removed)):
            sent[name] = _Sent(version, self._held.get(name))
            # Until the Envoy answers it may hold the old version or the new one.
            self._held[name] = _UNCERTAIN
        self._outstanding = _Outstanding(str(self._nonces), sent)
        return [Response(nonce=self._outstanding.nonce, resources=resources, removed=removed)]

    def _take(self, names: dict[str, None], limit: int) -> tuple[Resource, ...]:
        """Up to `limit` resources of the names that the Envoy lacks; the names looked at are dropped."""
        taken: list[Resource] = []
        while names and len(taken) < limit:
            name = next(iter(names))
            del names[name]
            resource = self._published.get(name)
            if resource is None or self.accepted_at(name, resource.version) is not None:
                continue
            if self.refusal(name, resource.version) or (names is self._pending and name in self._suspects):
                continue
            taken.append(resource)
        return tuple(taken)

    def _accept(self, sent: Mapping[str, _Sent], now: float) -> Outcome:
        for name, item in sent.items():
            if item.version is None:
                del self._held[name]
            else:
                self._held[name] = _Held(item.version, now)
                self._refused.pop(name, None)
        return Outcome(answered=True, settled=frozenset(sent))

    def _refuse(self, sent: Mapping[str, _Sent], error: str) -> Outcome:
        words = error or "refused without a reason"
        alone = len(sent) == 1
        refused: list[tuple[str, str]] = []
        for name, item in sent.items():
            if alone:
                self._restore(name, item.before)
            if item.version is None:
                # A removal that was refused is not repeated until it is asked for again.
                if name not in self._published:
                    self._strangers.add(name)
            elif name not in self._published:
                # The name was removed meanwhile; sent together with others it may have been applied.
                if name in self._held:
                    self._doomed[name] = None
            elif alone:
                self._refused[name] = (item.version, words)
                refused.append((name, words))
            else:
                # Envoy applies the good resources of a response that it refuses.
                self._suspects[name] = None
        return Outcome(answered=True, settled=frozenset(name for name, _ in refused), refused=tuple(refused))

    def _restore(self, name: str, before: _Held | None) -> None:
        if before is None:
            del self._held[name]
        else:
            self._held[name] = before
