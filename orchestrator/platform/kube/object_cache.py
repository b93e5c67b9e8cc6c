"""
What the API server was last seen to have, folded from lists and watch events, and what of it is news. Pure.

Four kinds come in apart; what goes out is one state. A fold costs what it
touches: an event one object, a list all of its kind, of which only those of
another version are read.

What cannot be read is a problem with a name, and its last good definition
stays. A built-in runtime that is missing is about to be created again: its last
definition stays until then, since its models would be told meanwhile that there
is none.

Law 9 (absence never deletes): `News.deleted` has only objects that were deleted
explicitly, by a DELETED event or a deletion timestamp. An object that is merely
missing in a list is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from orchestrator.domain.config import CONFIG_NAME
from orchestrator.domain.errors import InvalidManifest, surprise
from orchestrator.domain.serving_runtime import ServingRuntime, unreadable_runtime
from orchestrator.domain.storage import SECRET_NAME, StorageConfig
from orchestrator.domain.trained_model import API_VERSION, TrainedModel
from orchestrator.platform.kube.answers import UNREADABLE, Raw
from orchestrator.platform.kube.objects import (
    going,
    identity,
    read_config,
    read_held,
    read_model,
    read_runtime,
    read_secret,
    version_of,
)

#: Deletions that are kept for a leader to come; the oldest go, and are then merely absences.
DELETIONS: Final = 10_000


class Kind(StrEnum):
    """The kinds that are followed."""

    MODEL = "TrainedModel"
    RUNTIME = "ServingRuntime"
    SECRET = "Secret"
    CONFIG = "ConfigMap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An object that is there and cannot be read."""

    kind: Kind
    name: str
    uid: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What is new since it was last taken."""

    #: None: absent.
    models: Mapping[str, TrainedModel | None]
    deleted: Collection[tuple[str, str]]
    #: Whether anything else than models is new.
    common: bool


@dataclass
class ObjectCache:
    """The fold. Its public values are for reading."""

    api_version: str = API_VERSION
    builtins: Collection[str] = ()
    #: Also those that were deleted and are held (`TrainedModel.held_by`).
    models: dict[str, TrainedModel] = field(default_factory=dict)
    runtimes: dict[str, ServingRuntime] = field(default_factory=dict)
    storage: StorageConfig | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    problems: dict[tuple[Kind, str], Problem] = field(default_factory=dict)
    #: Built-in runtimes that are to be created.
    wanted: set[str] = field(default_factory=set)
    _seen: dict[tuple[Kind, str], str] = field(default_factory=dict)
    _changed: dict[str, None] = field(default_factory=dict)
    _deleted: dict[tuple[str, str], None] = field(default_factory=dict)
    _common: bool = False
    #: Whether anybody takes news: a standby does not, and what has come and gone meanwhile is none.
    _taken: bool = False

    def replace(self, kind: Kind, raws: list[Raw]) -> None:
        """A complete list."""
        there = {identity(raw)[0] for raw in raws}
        for name in [name for known, name in self._seen if known is kind and name not in there]:
            self._gone(kind, name)
        if kind is Kind.RUNTIME:
            self.wanted |= {name for name in self.builtins if name not in there}
        for raw in raws:
            self._there(kind, raw)

    def event(self, kind: Kind, change: str, raw: Raw) -> None:
        """A watch event: ADDED, MODIFIED or DELETED."""
        if change != "DELETED":
            self._there(kind, raw)
            return
        name, _ = identity(raw)
        if kind is Kind.MODEL and name in self.models and not self.models[name].held_by:
            # Else it has been said before, or there was never anything to take away.
            self._say_deleted(raw)
        self._gone(kind, name)
        if kind is Kind.RUNTIME and name in self.builtins:
            self.wanted.add(name)

    def created(self, raw: Raw) -> None:
        """A runtime as a request has just returned it, ahead of its event."""
        self._there(Kind.RUNTIME, raw)

    def news(self) -> News:
        """Take it."""
        models = {name: self.models.get(name) for name in self._changed}
        told = News(models=models, deleted=tuple(self._deleted), common=self._common)
        self._changed, self._deleted, self._common, self._taken = {}, {}, False, True
        return told

    def _there(self, kind: Kind, raw: Raw) -> None:
        name, uid = identity(raw)
        if going(raw):
            self._gone(kind, name, held=False)
            if kind is Kind.MODEL:
                self._say_deleted(raw)
                self._hold(raw)
            return
        version = version_of(raw)
        if version and self._seen.get((kind, name)) == version:
            return
        self._seen[kind, name] = version
        try:
            if UNREADABLE in raw:
                raise InvalidManifest("object", raw[UNREADABLE])
            _TAKE[kind](self, raw)
        except Exception as error:
            # One that nobody expected is this object's trouble, too: whoever follows all of them must not end of it.
            reason = str(error) if isinstance(error, InvalidManifest) else surprise(error)
            self.problems[kind, name] = Problem(kind=kind, name=name, uid=uid, reason=reason)
            self._keep_last_good(kind, name, uid, reason)
        else:
            self.problems.pop((kind, name), None)

    def _gone(self, kind: Kind, name: str, *, held: bool = True) -> None:
        self._seen.pop((kind, name), None)
        self.problems.pop((kind, name), None)
        match kind:
            case Kind.MODEL:
                known = self.models.pop(name, None) is not None
                if not self._taken:
                    self._changed.pop(name, None)
                elif known:
                    self._changed[name] = None
            case Kind.RUNTIME:
                if name in self.runtimes and not (held and name in self.builtins):
                    del self.runtimes[name]
                    self._common = True
            case Kind.SECRET:
                self._take_storage(None)
            case Kind.CONFIG:
                self._take_config({})

    def _keep_last_good(self, kind: Kind, name: str, uid: str, reason: str) -> None:
        """What it was before, unless it is another object by now: a model of another uid is another model."""
        model = self.models.get(name)
        if kind is Kind.MODEL and model is not None and model.uid != uid:
            del self.models[name]
            self._changed[name] = None
        runtime = self.runtimes.get(name)
        if kind is Kind.RUNTIME and runtime is not None and runtime.uid != uid:
            # A kind of server is what its definition says; its pods belong to the object that there is.
            self.runtimes[name] = replace(runtime, uid=uid)
            self._common = True
        if kind is Kind.RUNTIME and (runtime is None or not runtime.readable):
            self.runtimes[name] = unreadable_runtime(name, uid, reason)
            self._common |= self.runtimes[name] != runtime

    def _say_deleted(self, raw: Raw) -> None:
        self._deleted[identity(raw)] = None
        if len(self._deleted) > DELETIONS:
            del self._deleted[next(iter(self._deleted))]

    def _hold(self, raw: Raw) -> None:
        """It is deleted as far as we go, and is there to be told so."""
        try:
            model = read_held(raw, self.api_version)
        except Exception:
            # Whatever it is: nothing is made of it any more.
            return
        if model.held_by:
            self.models[model.name] = model
            self._changed[model.name] = None

    def _take_model(self, raw: Raw) -> None:
        model = read_model(raw, self.api_version)
        self.models[model.name] = model
        self._changed[model.name] = None

    def _take_runtime(self, raw: Raw) -> None:
        name, _ = identity(raw)
        runtime = read_runtime(raw)
        before = self.runtimes.get(name)
        if runtime is not None:
            self.runtimes[name] = runtime
        else:
            self.runtimes.pop(name, None)
        # Not what differs in labels or in who manages a field.
        self._common |= runtime != before

    def _take_secret(self, raw: Raw) -> None:
        if identity(raw)[0] == SECRET_NAME:
            self._take_storage(read_secret(raw))

    def _take_settings(self, raw: Raw) -> None:
        if identity(raw)[0] == CONFIG_NAME:
            self._take_config(read_config(raw))

    def _take_storage(self, storage: StorageConfig | None) -> None:
        self._common |= storage != self.storage
        self.storage = storage

    def _take_config(self, config: Mapping[str, str]) -> None:
        self._common |= config != self.config
        self.config = config


_TAKE: Final[Mapping[Kind, Callable[[ObjectCache, Any], None]]] = {
    Kind.MODEL: ObjectCache._take_model,
    Kind.RUNTIME: ObjectCache._take_runtime,
    Kind.SECRET: ObjectCache._take_secret,
    Kind.CONFIG: ObjectCache._take_settings,
}
