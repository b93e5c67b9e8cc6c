"""
The adapter's values: copies, what they are made from, why one failed.

Values that hold secrets do not show them in their repr, so that no log line,
traceback or assertion can.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class ServerState(StrEnum):
    """The model server beside the adapter."""

    STARTING = "Starting"
    READY = "Ready"
    #: The server was ready and its connection dropped: all copies that it held are gone.
    LOST = "Lost"


class CopyState(StrEnum):
    """One copy's progress."""

    DOWNLOADING = "Downloading"
    LOADING = "Loading"
    LOADED = "Loaded"
    UNLOADING = "Unloading"
    FAILED = "Failed"


class Reason(StrEnum):
    """Why a copy could not be made; all but NO_ROOM are condition reasons of a TrainedModel."""

    MODEL_NOT_FOUND = "ModelNotFound"
    STORAGE_ACCESS_DENIED = "StorageAccessDenied"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    STORAGE_CONFIG_INVALID = "StorageConfigInvalid"
    INVALID_MODEL_LAYOUT = "InvalidModelLayout"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    MODEL_TOO_LARGE = "ModelTooLarge"
    #: The copy would fit if another left: the leader's business, not the user's.
    NO_ROOM = "NoRoom"


@dataclass(frozen=True, slots=True, order=True)
class CopyKey:
    """Identity of a copy within an adapter; `model` is also its name in the server."""

    model: str
    uid: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a copy could not be made."""

    reason: Reason
    message: str
    #: For MODEL_TOO_LARGE and NO_ROOM: bytes to reserve, and bytes that there are.
    needed: int = 0
    available: int = 0
    #: The model's objects have changed since the failure.
    source_changed: bool = False
    #: The server died while it loaded this copy.
    crashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One revision of a model in the server beside this adapter."""

    key: CopyKey
    state: CopyState
    reserved: int = 0
    measured: int = 0
    failure: Failure | None = None
    download_s: float | None = None
    load_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a model's files are: one object, or all objects below a prefix."""

    bucket: str
    path: str
    framework: str
    #: The storageUri as the user wrote it, for messages.
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How to reach one S3 store. Never logged, never written to disk."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    endpoint_url: str
    region: str = ""
    #: PEM of the authority that signed the endpoint's certificate; "" = the system's.
    certificate: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a Load command asks for."""

    key: CopyKey
    source: Source
    credentials: Credentials
    #: Bytes to reserve; 0 = derived from the objects' sizes.
    reserve: int = 0
    urgent: bool = False
    timeout_s: float = 0.0
