"""
Statuses to the API server: one write a change, and none for what is stored already.

A write is for the object that was decided about and for no other of its name.
A uid in the patch does not see to that: for custom resources the API server
takes all metadata of a status patch from the stored object, but for the
resourceVersion, which it compares. So the patch carries the version; a conflict
is either another object by now, whose status is not ours to write, or a change
of the same one, and then the newest version is asked for. That change may be a
later leader's: whoever leads no more writes nothing, and above all not again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from orchestrator.domain.errors import PlatformUnavailable
from orchestrator.domain.trained_model import API_VERSION, ModelStatus, TrainedModel
from orchestrator.machinery.term import Term
from orchestrator.platform.kube.answers import ApiError, ApiUnreachable, Raw
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.objects import identity, version_of
from orchestrator.platform.kube.paths import group
from orchestrator.platform.kube.status_form import status_patch

#: Writes that are remembered: of more models than there are.
MEMORY: Final = 20_000
#: How often somebody else may be faster before it waits for its turn in the queue.
ATTEMPTS: Final = 4
_GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
#: Of an object that is there, and whose status is not found.
_NO_SUBRESOURCE: Final = (
    "the installed definition of TrainedModels has no status subresource: apply manifests/trainedmodel-crd.yaml"
)


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written last, the version that it made, and the one that was shown then. None: nobody knows what is stored."""

    uid: str
    status: ModelStatus | None
    version: str
    shown: str


class StatusWriter:
    """Implements ports.StatusWriter. Needs get of TrainedModels and patch of their status."""

    def __init__(
        self,
        api: KubeApi,
        *,
        namespace: str,
        shown: Callable[[str], TrainedModel | None],
        term: Term,
        api_version: str = API_VERSION,
    ) -> None:
        """`shown`: the model of that name as the API server last showed it, never older than what was decided upon."""
        self._api = api
        self._namespace = namespace
        self._shown = shown
        self._term = term
        self._api_version = api_version
        self._written: OrderedDict[str, _Written] = OrderedDict()

    async def write_status(self, name: str, uid: str, status: ModelStatus) -> None:
        """
        Store the status of the model with that uid; one that is gone is no error.

        Raises PlatformUnavailable when it has to be written later.
        """
        shown = self._shown(name)
        if shown is None or shown.uid != uid:
            self._written.pop(name, None)
            return
        seen = version_of(shown.raw)
        known: ModelStatus | None = shown.status
        version = seen
        written = self._written.get(name)
        if written is not None and (written.uid, written.shown) == (uid, seen):
            # Nothing has been seen since, not even the echo of it.
            known, version = written.status, written.version
        if known == status:
            return
        # Whatever comes of it: until it is confirmed, nobody knows what is stored.
        self._remember(name, _Written(uid, None, version, seen))
        try:
            stored = await self._write(name, uid, status, version)
        except ApiUnreachable as error:
            raise PlatformUnavailable(f"status of {name}: {error}") from error
        except ApiError as error:
            if error.passing or error.status == HTTPStatus.CONFLICT:
                wanted_s = error.retry_after_s or 0.0
                raise PlatformUnavailable(f"status of {name}: {error}", retry_after_s=wanted_s) from error
            raise
        if stored is not None:
            self._remember(name, _Written(uid, status, version_of(stored), seen))

    def _lead(self, name: str) -> None:
        if self._term.over:
            raise PlatformUnavailable(f"status of {name}: this process does not lead any more")

    def _remember(self, name: str, written: _Written) -> None:
        self._written[name] = written
        self._written.move_to_end(name)
        if len(self._written) > MEMORY:
            self._written.popitem(last=False)

    async def _write(self, name: str, uid: str, status: ModelStatus, version: str) -> Raw | None:
        """The object as stored; None: it is gone, or another by now."""
        attempt = 0
        while True:
            attempt += 1
            self._lead(name)
            try:
                if attempt > 1:
                    current = await self._current(name, uid)
                    if current is None:
                        return None
                    version = version_of(current)
                    self._lead(name)
                return await self._api.merge(
                    group(self._api_version, "trainedmodels", self._namespace, name, "status"),
                    {"metadata": {"resourceVersion": version}, "status": status_patch(status, self._api_version)},
                )
            except ApiError as error:
                if error.status in _GONE:
                    if await self._current(name, uid) is None:
                        return None
                    raise PlatformUnavailable(f"status of {name}: {_NO_SUBRESOURCE}") from error
                if error.status != HTTPStatus.CONFLICT or attempt >= ATTEMPTS:
                    raise

    async def _current(self, name: str, uid: str) -> Raw | None:
        """The object with that uid as it is now; None: it is gone, or another by now."""
        try:
            raw = await self._api.get(group(self._api_version, "trainedmodels", self._namespace, name))
        except ApiError as error:
            if error.status in _GONE:
                return None
            raise
        return raw if identity(raw)[1] == uid else None
