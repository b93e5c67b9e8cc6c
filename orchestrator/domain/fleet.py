"""
Runtime pods and the copies they hold, as the orchestrator knows them.

A fact about a pod is present, absent or unknown. When an adapter does not
answer, its pod is unknown: its copies are taken to be where they were last seen,
and nothing may be removed because of its silence (law 9: absence never deletes).
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
    #: Its connection dropped: all copies that it held are gone.
    LOST = "Lost"


class CopyState(StrEnum):
    """One copy's progress."""

    DOWNLOADING = "Downloading"
    LOADING = "Loading"
    LOADED = "Loaded"
    UNLOADING = "Unloading"
    FAILED = "Failed"
    #: The adapter (a newer version) reports a state that is not known here: nothing is taken away because of it.
    UNKNOWN = "Unknown"


#: The states of a copy that is loaded, or being loaded.
PRESENT: Final = frozenset({CopyState.DOWNLOADING, CopyState.LOADING, CopyState.LOADED})
#: The platform's message on a pod whose node does not report any more: it says nothing about the pod's server.
NODE_SILENT: Final = "its node does not answer"
#: The adapter's reason for "the copy would fit if another left"; never a condition reason.
NO_ROOM = "NoRoom"


@dataclass(frozen=True, slots=True, order=True)
class CopyKey:
    """Identity of a copy within a pod."""

    model: str
    uid: str
    revision: str


@dataclass(frozen=True, slots=True)
class CopyRef:
    """Identity of a copy among all pods: several may hold the same revision of a model."""

    pod: str
    key: CopyKey


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """All that an adapter needs to make a copy."""

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
        """The copy's identity."""
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
    #: The platform's word on what ails the pod (a crash loop, an image that cannot be pulled).
    message: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as the platform keeps it: what is asked for, not the pods that there are."""

    #: Pods asked for: fewer may be there so far, or more while pods are replaced.
    replicas: int
    #: Why pods are missing, if the cause lies in no pod (a quota, for example).
    message: str = ""
    #: Another problem, which keeps no pod from coming.
    aside: str = ""

    @property
    def said(self) -> str:
        """Both messages as one."""
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
    #: Its adapter says that the pod is about to end.
    draining: bool = False
    #: Its adapter says that the pod ends within seconds.
    closing: bool = False
    #: The pod is older than this controller and its adapter has not reported yet: what it holds is not known.
    unheard: bool = False
    #: Since when `known` and `server` are as they are (monotonic seconds).
    since: float = 0.0
    #: It has not been heard for longer than anything waits for it: as of one look (pool.py).
    given_up: bool = False

    @property
    def leaving(self) -> bool:
        """Whether the pod is on its way out: its copies are to be handed over to other pods."""
        return self.draining or self.pod.terminating

    @property
    def ending(self) -> bool:
        """Whether its copies are to be withdrawn now, handed over or not. Never for a pod that is silent."""
        return self.known and self.closing

    @property
    def silent(self) -> bool:
        """
        Whether its adapter was heard once, by this leader or one before it, and is not heard now.

        A silent pod may hold anything, and have room. A pod that was never heard holds nothing: nobody sent it a load.
        """
        return not self.known and (self.unheard or bool(self.boot))

    @property
    def reachable(self) -> bool:
        """Whether the pod has an address to send requests to. It may have lost its address for a moment only."""
        return bool(self.pod.endpoint)

    @property
    def usable(self) -> bool:
        """Whether a load may be sent to this pod."""
        return self.known and self.server is ServerState.READY and not self.leaving

    @property
    def coming(self) -> bool:
        """
        Whether the pod is not usable, but may well be in a moment.

        A pod on its way out is not coming, nor one whose server is not up and for which the platform gives a reason.
        A silent pod is: once its adapter answers it may turn out usable.
        """
        broken = self.pod.message not in ("", NODE_SILENT) and self.server is not ServerState.READY
        return not (self.usable or self.leaving or broken)

    @property
    def free(self) -> int:
        """Bytes that may still be reserved."""
        return max(0, self.total - self.reserved)
