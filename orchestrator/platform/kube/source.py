"""
The API server as a source of desired state.

Two halves, since a standby keeps itself warm: `watch` follows the four kinds
for ever and folds what it sees, `run` delivers the fold to a leader's sink.
Nothing is delivered before each kind has been listed, by now and not by
whatever this process saw while it stood by, and the built-in
runtimes have been asked for: what has not been read is not absent. One that the
server then fails to make is. What comes
in one turn of the loop is one delivery, and changes of models alone cost what
changed.

Only this namespace is ever listed; of Secrets and ConfigMaps only the one of
the product's name, so that the service account needs no more than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final, Never

import structlog

from orchestrator.domain.config import CONFIG_NAME
from orchestrator.domain.errors import EventReason
from orchestrator.domain.serving_runtime import API_VERSION as RUNTIME_API
from orchestrator.domain.storage import SECRET_NAME
from orchestrator.domain.trained_model import API_VERSION as MODEL_API
from orchestrator.domain.trained_model import TrainedModel
from orchestrator.machinery.backoff import Backoff
from orchestrator.platform.kube.answers import ApiError, ApiUnreachable, Raw
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.builtin_keeper import BuiltinKeeper
from orchestrator.platform.kube.events import EventRecorder, Reference
from orchestrator.platform.kube.object_cache import Kind, ObjectCache, Problem
from orchestrator.platform.kube.paths import core, group
from orchestrator.platform.kube.reflector import Reflector
from orchestrator.ports import DesiredSink

log = structlog.get_logger(__name__)

#: A built-in runtime that was refused is asked for again after this.
REFUSED_S: Final = 60.0
#: For so long answers are waited for that a server gives when it starts; or for as long as somebody's webhook is down.
PATIENCE_S: Final = 5.0
#: A leader that begins lists anew what it listed longer ago.
FRESH_S: Final = 1.0


class KubeSource:
    """Implements ports.DesiredSource."""

    def __init__(
        self,
        api: KubeApi,
        *,
        namespace: str,
        recorder: EventRecorder,
        builtins: Mapping[str, Raw],
        clock: Callable[[], float],
        random: Callable[[], float],
        api_version: str = MODEL_API,
        on_config: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> None:
        """`builtins`: manifests by name. `on_config` is told what the ConfigMap has, by a standby, too."""
        self._recorder = recorder
        self._cache = ObjectCache(api_version=api_version, builtins=tuple(builtins))
        self._keeper = BuiltinKeeper(api, namespace, builtins)
        self._clock = clock
        self._backoff = Backoff(0.5, 10.0, random)
        self._on_config = on_config
        self._api_versions = {Kind.MODEL: api_version, Kind.RUNTIME: RUNTIME_API}
        paths = {
            Kind.MODEL: (group(api_version, "trainedmodels", namespace), ""),
            Kind.RUNTIME: (group(RUNTIME_API, "servingruntimes", namespace), ""),
            Kind.SECRET: (core("secrets", namespace), f"metadata.name={SECRET_NAME}"),
            Kind.CONFIG: (core("configmaps", namespace), f"metadata.name={CONFIG_NAME}"),
        }
        self._reflectors = {
            kind: Reflector(
                api,
                path,
                on_list=self._on_list(kind),
                on_event=self._on_event(kind),
                field_selector=selector,
                clock=clock,
                random=random,
            )
            for kind, (path, selector) in paths.items()
        }
        self._moved = asyncio.Event()
        self._missing = asyncio.Event()
        self._told: dict[tuple[Kind, str], Problem] = {}

    @property
    def synced(self) -> bool:
        """Whether everything has been listed once."""
        return all(reflector.synced.is_set() for reflector in self._reflectors.values())

    async def watch(self) -> Never:
        """Follow the API server until cancelled; before `run`, and beside it. Once."""
        async with asyncio.TaskGroup() as group_:
            for kind, reflector in self._reflectors.items():
                group_.create_task(reflector.run(), name=f"watch-{kind}")
        raise AssertionError("a reflector ended")

    async def run(self, sink: DesiredSink) -> Never:
        """Deliver what there is, then changes, until cancelled; and see that the built-in runtimes are there."""
        await asyncio.gather(*(reflector.renew(FRESH_S) for reflector in self._reflectors.values()))
        self._cache.wanted.clear()
        refused = await self._create(self._keeper.names)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(refused), name="builtin-runtimes")
            await self._follow(sink)
        raise AssertionError("the source ended")

    def problems(self) -> list[str]:
        """What a person should mend, a line each."""
        return sorted(str(problem) for problem in self._cache.problems.values())

    def refused(self, name: str) -> str:
        """Why the TrainedModel of that name cannot be read; "" if it can, or there is none."""
        problem = self._cache.problems.get((Kind.MODEL, name))
        return problem.reason if problem is not None else ""

    def shown(self, name: str) -> TrainedModel | None:
        """The model as the API server last showed it."""
        return self._cache.models.get(name)

    async def _follow(self, sink: DesiredSink) -> Never:
        self._deliver(sink, whole=True)
        while True:
            await self._moved.wait()
            self._deliver(sink)

    def _deliver(self, sink: DesiredSink, *, whole: bool = False) -> None:
        self._moved.clear()
        self._report()
        cache, news = self._cache, self._cache.news()
        if whole or news.common:
            sink.replace(
                models=dict(cache.models),
                runtimes=dict(cache.runtimes),
                storage=cache.storage,
                config=dict(cache.config),
                deleted=news.deleted,
            )
        elif news.models or news.deleted:
            sink.change(news.models, deleted=news.deleted)

    async def _keep(self, refused: Collection[str]) -> Never:
        """Create what is missing, as soon as it is."""
        while True:
            try:
                async with asyncio.timeout(REFUSED_S if refused else None):
                    await self._missing.wait()
            except TimeoutError:
                self._cache.wanted |= set(refused)
            self._missing.clear()
            names = self._cache.wanted | set(refused)
            self._cache.wanted.clear()
            refused = await self._create(names)

    async def _create(self, names: Collection[str]) -> Collection[str]:
        """
        Have them there. Waits for an API server that is away; those that it refuses come back.

        Not long for one that only fails at it, and not at all where that is to update what is there: a webhook of
        somebody's that is down must not keep a leader from its work.
        """
        refused = set()
        until = self._clock() + PATIENCE_S
        for name in sorted(names):
            while True:
                try:
                    raw = await self._keeper.ensure(name)
                except (ApiUnreachable, ApiError) as error:
                    pause_s = self._backoff.next()
                    there, late = name in self._cache.runtimes, self._clock() + pause_s > until
                    if isinstance(error, ApiError) and (not error.passing or there or late):
                        self._backoff.reset()
                        self._keeper.refused(name, error)
                        refused.add(name)
                        break
                    log.info("builtin_runtime_waits", runtime=name, problem=str(error))
                    await asyncio.sleep(pause_s)
                else:
                    self._backoff.reset()
                    if raw is not None:
                        self._cache.created(raw)
                        self._moved.set()
                    break
        return refused

    def _on_list(self, kind: Kind) -> Callable[[list[Raw]], None]:
        def take(raws: list[Raw]) -> None:
            self._cache.replace(kind, raws)
            self._woken(kind)

        return take

    def _on_event(self, kind: Kind) -> Callable[[str, Raw], None]:
        def take(change: str, raw: Raw) -> None:
            self._cache.event(kind, change, raw)
            self._woken(kind)

        return take

    def _woken(self, kind: Kind) -> None:
        self._moved.set()
        if kind is Kind.CONFIG:
            self._on_config(self._cache.config)
        if self._cache.wanted:
            self._missing.set()

    def _report(self) -> None:
        """A line and an Event for each problem that is new, a line for each that is no more."""
        now = dict(self._cache.problems)
        for key, problem in now.items():
            if self._told.get(key) != problem:
                log.warning("object_invalid", kind=problem.kind, name=problem.name, reason=problem.reason)
                version = self._api_versions.get(problem.kind, "v1")
                about = Reference(api_version=version, kind=problem.kind, name=problem.name, uid=problem.uid)
                self._recorder.about(about, warning=True, reason=EventReason.INVALID_MANIFEST, message=problem.reason)
        for key in self._told.keys() - now.keys():
            log.info("object_mended", kind=key[0], name=key[1])
        self._told = now
