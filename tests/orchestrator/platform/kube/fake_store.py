"""
What an API server keeps, for tests: objects of any kind, versions, and the history that watches are fed from.

The rules that a controller meets are those of the real one, as far as tests
against the real one have shown: compare-and-swap, `generation`, the status
subresource, finalizers, a write that changes nothing keeps its version, a list
continues on one version, history is compacted, an apply minds who set which
field. Not here: schemas, defaults, garbage collection of what is owned.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.orchestrator.platform.kube.fake_ownership import Owners, without
from tests.orchestrator.platform.kube.selectors import selects

Raw = dict[str, Any]

#: Resources without a status subresource; all others have one.
PLAIN: Final = frozenset({"configmaps", "endpointslices", "events", "leases", "secrets", "serviceaccounts"})
KINDS: Final = {
    "customresourcedefinitions": "CustomResourceDefinition",
    "endpointslices": "EndpointSlice",
    "networkpolicies": "NetworkPolicy",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "configmaps": "ConfigMap",
    "replicasets": "ReplicaSet",
    "servingruntimes": "ServingRuntime",
    "trainedmodels": "TrainedModel",
}
_CREATED: Final = "2026-01-01T00:00:00Z"


class Refused(Exception):
    """An answer without success."""

    def __init__(self, code: int, reason: str, message: str, causes: tuple[Raw, ...] = ()) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.causes = code, reason, message, causes

    def status(self) -> Raw:
        details = {"causes": list(self.causes)} if self.causes else {}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "code": self.code,
            "reason": self.reason,
            "message": self.message,
            "details": details,
        }


class Place(NamedTuple):
    """A path, taken apart."""

    version: str
    resource: str
    namespace: str | None
    name: str | None
    sub: str | None

    @classmethod
    def of(cls, path: str) -> Place:
        parts = path.strip("/").split("/")
        version, rest = ("v1", parts[2:]) if parts[:2] == ["api", "v1"] else ("/".join(parts[1:3]), parts[3:])
        if (parts[:2] != ["api", "v1"] and parts[0] != "apis") or not rest:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        namespace = None
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        resource, name, sub = [*rest, None, None][:3]
        assert resource is not None
        return cls(version, resource, namespace, name, sub)

    @property
    def kind(self) -> str:
        return KINDS.get(self.resource, self.resource.removesuffix("s").capitalize())


class Key(NamedTuple):
    version: str
    resource: str
    namespace: str | None
    name: str


class Change(NamedTuple):
    """One write; `before` is None for a new object, `now` carries the version of the write, also of a deletion."""

    version: int
    key: Key
    before: Raw | None
    now: Raw
    deleted: bool


@dataclass
class Store:
    """All of it. Whoever watches polls `history`."""

    version: int = 100
    objects: dict[Key, Raw] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    #: Watches and exact lists before it are answered with 410.
    compacted: int = 0
    _continues: dict[str, tuple[int, list[Raw]]] = field(default_factory=dict)
    #: By uid.
    _owners: defaultdict[str, Owners] = field(default_factory=lambda: defaultdict(Owners))

    def compact(self) -> None:
        """Forget all history, and the lists that were to be continued."""
        self.compacted = self.version
        self.history.clear()
        self._continues.clear()

    def get(self, path: str) -> Raw:
        return copy.deepcopy(self._found(_key(Place.of(path))))

    def create(self, path: str, body: Raw, *, dry_run: bool = False) -> Raw:
        place = Place.of(path)
        raw = copy.deepcopy(body)
        metadata = raw.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        if not metadata.get("name"):
            raise Refused(422, "Invalid", "metadata.name: Required value")
        if metadata.get("resourceVersion"):
            raise Refused(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        key = Key(place.version, place.resource, place.namespace, metadata["name"])
        if key in self.objects:
            raise Refused(409, "AlreadyExists", f'{place.resource} "{key.name}" already exists')
        if place.resource not in PLAIN:
            raw.pop("status", None)
            metadata["generation"] = 1
        if place.namespace is not None:
            metadata["namespace"] = place.namespace
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": _CREATED}
        metadata["managedFields"] = [{"manager": "test", "operation": "Update"}]
        raw.setdefault("apiVersion", place.version)
        raw.setdefault("kind", place.kind)
        return raw if dry_run else self._write(key, raw)

    def replace(self, path: str, body: Raw, *, dry_run: bool = False) -> Raw:
        old = self.objects.get(_key(Place.of(path)))
        new = self._replace(path, body, dry_run=dry_run)
        if old is not None and not dry_run and Place.of(path).sub is None:
            self._owners[new["metadata"]["uid"]].update(old, new)
        return new

    def _replace(self, path: str, body: Raw, *, dry_run: bool = False) -> Raw:
        place = Place.of(path)
        key = _key(place)
        old = self._found(key)
        raw = copy.deepcopy(body)
        metadata = raw.setdefault("metadata", {})
        if metadata.get("resourceVersion") not in {None, "", old["metadata"]["resourceVersion"]}:
            raise Refused(409, "Conflict", f'Operation cannot be fulfilled on {place.resource} "{key.name}": changed')
        if metadata.get("uid") not in {None, "", old["metadata"]["uid"]}:
            raise Refused(409, "Conflict", f"Precondition failed: UID in precondition: {metadata['uid']}")
        if place.sub == "status":
            raw = {**copy.deepcopy(old), "status": raw.get("status")}
            if raw["status"] is None:
                del raw["status"]
        elif place.sub is not None:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        elif place.resource not in PLAIN:
            raw.pop("status", None)
            raw |= {"status": copy.deepcopy(old["status"])} if "status" in old else {}
        kept = (
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "resourceVersion",
            "generation",
            "deletionTimestamp",
            "managedFields",
        )
        raw["metadata"] |= {k: copy.deepcopy(old["metadata"][k]) for k in kept if k in old["metadata"]}
        if raw == old:
            return raw
        if place.resource not in PLAIN and _spec(raw) != _spec(old):
            raw["metadata"]["generation"] += 1
        if dry_run:
            return raw
        if "deletionTimestamp" in raw["metadata"] and not raw["metadata"].get("finalizers"):
            return self._write(key, raw, deleted=True)
        return self._write(key, raw)

    def merge(self, path: str, patch: Raw, *, dry_run: bool = False) -> Raw:
        if Place.of(path).sub == "status" and Place.of(path).resource in PLAIN:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        old = copy.deepcopy(self._found(_key(Place.of(path))))
        if "resourceVersion" not in patch.get("metadata", {}):
            del old["metadata"]["resourceVersion"]
        return self.replace(path, _merged(old, patch), dry_run=dry_run)

    def apply(self, path: str, body: Raw, *, manager: str, force: bool = True, dry_run: bool = False) -> Raw:
        """What others set is changed by force only; what the manager applied before and does not now goes."""
        place = Place.of(path)
        old = self.objects.get(_key(place))
        if place.sub:
            return self.merge(path, body, dry_run=dry_run)
        if old is None:
            made = self.create(path.rsplit("/", 1)[0], body, dry_run=dry_run)
            if not dry_run:
                self._owners[made["metadata"]["uid"]].apply(manager, {}, body)
            return made
        owners = self._owners[old["metadata"]["uid"]]
        conflicts = () if force else owners.conflicts(manager, old, body)
        if conflicts:
            causes = tuple({"reason": "FieldManagerConflict", "field": each} for each in conflicts)
            raise Refused(409, "Conflict", f"Apply failed with {len(conflicts)} conflicts: {conflicts}", causes)
        kept = without(old, owners.left_out(manager, body))
        if "resourceVersion" not in body.get("metadata", {}):
            del kept["metadata"]["resourceVersion"]
        new = self._replace(path, _merged(kept, body), dry_run=dry_run)
        if not dry_run:
            owners.apply(manager, old, body)
        return new

    def delete(self, path: str, options: Raw | None = None) -> Raw:
        key = _key(Place.of(path))
        old = self._found(key)
        for name, wanted in ((options or {}).get("preconditions") or {}).items():
            if old["metadata"][name] != wanted:
                raise Refused(409, "Conflict", f"Precondition failed: {name}")
        if not old["metadata"].get("finalizers"):
            return self._write(key, copy.deepcopy(old), deleted=True)
        raw = copy.deepcopy(old)
        raw["metadata"].setdefault("deletionTimestamp", _CREATED)
        return raw if raw == old else self._write(key, raw)

    def put(self, path: str, body: Raw) -> Raw:
        """Into the store past all rules, for a test that sets the scene."""
        key = _key(Place.of(path))
        raw = copy.deepcopy(body)
        namespace = {} if key.namespace is None else {"namespace": key.namespace}
        fresh = {"uid": str(uuid.uuid4()), "creationTimestamp": _CREATED, "generation": 1, **namespace}
        old = self.objects.get(key, {}).get("metadata", {})
        raw["metadata"] = fresh | {k: old[k] for k in fresh if k in old} | raw.get("metadata", {}) | {"name": key.name}
        raw.setdefault("apiVersion", key.version)
        raw.setdefault("kind", Place.of(path).kind)
        return self._write(key, raw)

    def collection(self, path: str, query: Mapping[str, str]) -> Raw:
        place = Place.of(path)
        limit, token = int(query.get("limit") or 0), query.get("continue", "")
        asked, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
        if token:
            if asked:
                raise Refused(400, "BadRequest", "specifying resource version is not allowed when using continue")
            if token not in self._continues:
                raise Refused(410, "Expired", "The provided continue parameter is too old")
            version, items = self._continues[token]
        else:
            if asked not in {"", "0"} and int(asked) > self.version:
                raise Refused(504, "Timeout", "Too large resource version", ({"reason": "ResourceVersionTooLarge"},))
            if int(asked or 0) and match != "NotOlderThan" and limit and int(asked) < self.version:
                # Beside a limit a bare version means exactly this one, and here nothing but the newest is kept.
                raise Refused(410, "Expired", "The resourceVersion for the provided list is too old")
            version, items = self.version, [copy.deepcopy(raw) for raw in self.select(place, query)]
        more = ""
        if limit and len(items) > limit:
            more = uuid.uuid4().hex
            self._continues[more] = (version, items[limit:])
            items = items[:limit]
        for raw in items:
            if "/" not in place.version:
                # Lists of what is built in leave it out.
                raw.pop("kind", None)
                raw.pop("apiVersion", None)
        metadata = {"resourceVersion": str(version), **({"continue": more} if more else {})}
        return {"kind": f"{place.kind}List", "apiVersion": place.version, "metadata": metadata, "items": items}

    def select(self, place: Place, query: Mapping[str, str]) -> list[Raw]:
        """What there is under a collection's path, by namespace and name."""
        found = [(key, raw) for key, raw in self.objects.items() if concerns(place, key) and selects(query, raw)]
        return [raw for _, raw in sorted(found, key=lambda pair: (pair[0].namespace or "", pair[0].name))]

    def _found(self, key: Key) -> Raw:
        if key not in self.objects:
            raise Refused(404, "NotFound", f'{key.resource} "{key.name}" not found')
        return self.objects[key]

    def _write(self, key: Key, raw: Raw, *, deleted: bool = False) -> Raw:
        self.version += 1
        raw["metadata"]["resourceVersion"] = str(self.version)
        before = self.objects.get(key)
        if deleted:
            del self.objects[key]
        else:
            self.objects[key] = raw
        self.history.append(Change(self.version, key, before, raw, deleted))
        return copy.deepcopy(raw)


def concerns(place: Place, key: Key) -> bool:
    """Whether the object is under a collection's path; one without a namespace is of all namespaces."""
    return (key.version, key.resource) == (place.version, place.resource) and place.namespace in {None, key.namespace}


def _key(place: Place) -> Key:
    if place.name is None:
        raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    return Key(place.version, place.resource, place.namespace, place.name)


def _spec(raw: Raw) -> str:
    return json.dumps({k: v for k, v in raw.items() if k not in {"metadata", "status"}}, sort_keys=True)


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result
