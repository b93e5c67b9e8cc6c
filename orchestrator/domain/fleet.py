"""
Runtime pods and the copies they hold, as the orchestrator knows them.

A fact about a pod is present, absent or unknown. Unknown is what an adapter
that does not answer leaves behind: its copies stay where they were last seen,
and nothing may be removed because of it (law 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestrator.domain.storage import Credentials
from orchestrator.domain.trained_model import S3Uri


class ServerState(StrEnum):
    """The model server beside an adapter."""

    STARTING = "Starting"
    READY = "Ready"
    #: Its connection dropped: whatever it held is gone.
    LOST = "Lost"


class CopyState(StrEnum):
    """One copy's progress."""

    DOWNLOADING = "Downloading"
    LOADING = "Loading"
    LOADED = "Loaded"
    UNLOADING = "Unloading"
    FAILED = "Failed"
    #: Its adapter has a word for it that is not known here, and had no other before: nothing is taken away for its sake.
    UNKNOWN = "Unknown"


#: Of a copy that is loaded, or on its way.
PRESENT: Final = frozenset({CopyState.DOWNLOADING, CopyState.LOADING, CopyState.LOADED})
#: The platform's word for a pod that its node says nothing of any more: that is no word about its server.
NODE_SILENT: Final = "its node does not answer"
#: The adapter's word for "it would fit if something else went"; never a condition reason.
NO_ROOM = "NoRoom"


@dataclass(frozen=True, slots=True, order=True)
class CopyKey:
    """Identity of a copy within a pod."""

    model: str
    uid: str
    revision: str


@dataclass(frozen=True, slots=True)
class CopyRef:
    """One copy among all: pods may hold the same revision of a model."""

    pod: str
    key: CopyKey


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """All that an adapter is told of a copy to make."""

    key: CopyKey
    source: S3Uri
    uri: str
    framework: str
    credentials: Credentials
    reserve: int
    urgent: bool
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a copy could not be made; `reason` is a condition reason or NO_ROOM."""

    reason: str
    message: str
    needed: int = 0
    available: int = 0
    source_changed: bool = False
    #: The server died while it loaded this.
    crashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One revision of a model in one runtime pod."""

    key: CopyKey
    pod: str
    state: CopyState
    reserved: int = 0
    measured: int = 0
    failure: Failure | None = None
    download_s: float | None = None
    load_s: float | None = None

    @property
    def ref(self) -> CopyRef:
        """Which one it is."""
        return CopyRef(self.pod, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A runtime pod as the platform lists it. Identity is `uid`, never a name or an address."""

    uid: str
    name: str
    runtime: str
    #: gRPC target of the adapter, e.g. "unix:/run/…/adapter.sock" or "10.0.0.7:8085"; "" until it has an address.
    adapter: str
    #: host:port at which the mesh reaches the server; "" until it has an address.
    endpoint: str
    terminating: bool = False
    #: What the platform has to say about it (a crash loop, an image that cannot be pulled).
    message: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as the platform keeps it, whatever has become of its pods so far."""

    #: How many pods it is to have: fewer may be there yet, or more while they are replaced.
    replicas: int
    #: Why there are not as many as there should be, if that is no pod's fault.
    message: str = ""
    #: What else is amiss, and keeps no pod away.
    aside: str = ""

    @property
    def said(self) -> str:
        """All that there is to say."""
        return "; ".join(filter(None, (self.message, self.aside)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """A pod together with what its adapter last said."""

    pod: Pod
    #: Whether the adapter is connected now and has given its full report.
    known: bool = False
    boot: str = ""
    server: ServerState = ServerState.STARTING
    total: int = 0
    reserved: int = 0
    #: Its adapter says that it is about to end, for good; and that this is a matter of seconds.
    draining: bool = False
    closing: bool = False
    #: It was there before this controller was, and has not been heard: what it holds is not known.
    unheard: bool = False
    #: Since when it is known, or not, with its server in this state (monotonic seconds).
    since: float = 0.0

    @property
    def leaving(self) -> bool:
        """Whether it is on its way out: what it holds is to be handed over to others."""
        return self.draining or self.pod.terminating

    @property
    def ending(self) -> bool:
        """Whether what it holds is to be withdrawn now, handed over or not. Not on the word of one that is silent."""
        return self.known and self.closing

    @property
    def silent(self) -> bool:
        """
        Whether it was heard once, by us or by a leader before us, and is not now.

        It may hold anything, and have room. One that never was heard holds nothing that anybody asked it for.
        """
        return not self.known and (self.unheard or bool(self.boot))

    @property
    def reachable(self) -> bool:
        """Whether requests can be sent there at all. One without an address may have lost it for a moment only."""
        return bool(self.pod.endpoint)

    @property
    def usable(self) -> bool:
        """Whether a load may be sent there."""
        return self.known and self.server is ServerState.READY and not self.leaving

    @property
    def coming(self) -> bool:
        """
        Whether it is not usable, but may well be in a moment.

        Not one that is on its way out, nor one whose server is not up and of which the platform says why. A silent one
        is: had its adapter a word to say, it might be usable.
        """
        broken = self.pod.message not in ("", NODE_SILENT) and self.server is not ServerState.READY
        return not (self.usable or self.leaving or broken)

    @property
    def free(self) -> int:
        """Bytes that may still be reserved."""
        return max(0, self.total - self.reserved)
