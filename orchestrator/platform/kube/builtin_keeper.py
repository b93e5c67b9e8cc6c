"""
Has the built-in ServingRuntimes in the cluster, without taking any from a user.

One that is missing is created: who does not want it sets `spec.disabled`. One
that carries our label is applied again at each start, so that an upgrade brings
its new definition. What a user has changed in it is the user's from then on:
the API server keeps account of who set which field, and those are applied as
they are. They are not left out with what is around them: what we applied once
and do not any more goes. One without the label is the user's own, of the same
name.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from http import HTTPStatus

import structlog

from orchestrator.domain.serving_runtime import API_VERSION
from orchestrator.platform.kube.answers import ApiError, Raw
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.names import LABEL_MANAGED_BY, LABEL_NAME, PRODUCT
from orchestrator.platform.kube.objects import going
from orchestrator.platform.kube.paths import group

log = structlog.get_logger(__name__)


class BuiltinKeeper:
    """`manifests` by name. Needs get, create and patch of ServingRuntimes."""

    def __init__(self, api: KubeApi, namespace: str, manifests: Mapping[str, Raw]) -> None:
        self._api = api
        self._namespace = namespace
        self._manifests = manifests
        #: What was last said of each, so that it is said once.
        self._said: dict[str, str] = {}

    @property
    def names(self) -> Collection[str]:
        """Of the built-in runtimes."""
        return self._manifests.keys()

    async def ensure(self, name: str) -> Raw | None:
        """
        Create or update it; as it is now, None: it is being deleted.

        Raises ApiError, ApiUnreachable. Idempotent.
        """
        path = group(API_VERSION, "servingruntimes", self._namespace, name)
        try:
            found: Raw | None = await self._api.get(path)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            found = None
        if found is not None and going(found):
            return None
        if found is not None and not _ours(found):
            self._say(name, "builtin_runtime_is_the_users", "it does not carry our label: it is left alone")
            return found
        body = labelled(self._manifests[name], self._namespace)
        try:
            return await self._api.apply(path, body, force=False)
        except ApiError as error:
            if found is None or error.status != HTTPStatus.CONFLICT:
                raise
            self._say(name, "builtin_runtime_edited", error.message)
            body = as_edited(body, found, error.fields)
        try:
            return await self._api.apply(path, body, force=False)
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            return found

    def refused(self, name: str, error: ApiError) -> None:
        """It could not be done, and will not be without somebody's doing."""
        self._say(name, "builtin_runtime_refused", str(error), warning=True)

    def _say(self, name: str, event: str, problem: str, *, warning: bool = False) -> None:
        if self._said.get(name) != event + problem:
            self._said[name] = event + problem
            (log.warning if warning else log.info)(event, runtime=name, problem=problem)


def labelled(manifest: Raw, namespace: str) -> Raw:
    """As it is applied."""
    name = manifest["metadata"]["name"]
    labels = {LABEL_NAME: PRODUCT, LABEL_MANAGED_BY: PRODUCT}
    return {**manifest, "metadata": {"name": name, "namespace": namespace, "labels": labels}}


def as_edited(body: Raw, live: Raw, fields: Iterable[str]) -> Raw:
    """The body with the live values of these fields, as a conflict names them; of a field within a list, the whole list."""
    body = copy.deepcopy(body)
    for field in fields:
        _take(body, live, field.removeprefix("."))
    return body


def _take(body: Raw, live: Raw, path: str) -> None:
    # Names may have dots in them, and are not quoted.
    names = [name for name in body if path == name or path.startswith((f"{name}.", f"{name}["))]
    name = max(names, key=len, default="")
    if name not in body or name not in live:
        return
    ours, theirs = body[name], live[name]
    rest = path.removeprefix(name).removeprefix(".")
    if rest and isinstance(ours, dict) and isinstance(theirs, dict):
        _take(ours, theirs, rest)
    else:
        body[name] = copy.deepcopy(theirs)


def _ours(raw: Raw) -> bool:
    return bool((raw["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) == PRODUCT)
