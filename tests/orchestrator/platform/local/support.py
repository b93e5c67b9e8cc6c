"""Values and waiting that the tests of this package share."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.trained_model import TrainedModel
from orchestrator.platform.local.directory import Owned
from orchestrator.platform.local.guard import carriers, sweep
from orchestrator.platform.local.launch import PodTemplate
from orchestrator.platform.local.manifests import parse_file
from orchestrator.platform.local.pod_set import PodSet
from orchestrator.platform.local.pool_server import PoolServer
from orchestrator.platform.local.records import Record, reconcile
from orchestrator.platform.local.stack import Stack, claim
from tests.orchestrator.waiting import eventually

NAMESPACE = "wml-serving"
TEMPLATE = PodTemplate(runtime="r", server_type="mlserver", capacity_bytes=10, env=(("A", "b"),))


def model_yaml(name: str, *, uri: str = "s3://b/m", extra: str = "", namespace: str = "") -> str:
    """A TrainedModel; `extra` is more lines of metadata."""
    lines = f"  namespace: {namespace}\n" if namespace else ""
    return (
        "apiVersion: serving.kubeflow.org/v1alpha1\nkind: TrainedModel\n"
        f"metadata:\n  name: {name}\n{lines}{extra}"
        f"spec:\n  inferenceService: ''\n  model:\n    storageUri: {uri}\n    framework: sklearn\n    memory: 1Gi\n"
    )


def runtime_yaml(name: str, server_type: str = "mlserver") -> str:
    """A ServingRuntime."""
    return (
        f"apiVersion: serving.kserve.io/v1alpha1\nkind: ServingRuntime\nmetadata: {{name: {name}}}\n"
        f"spec:\n  builtInAdapter: {{serverType: {server_type}}}\n"
        "  supportedModelFormats: [{name: sklearn, autoSelect: true}]\n"
        f"  containers: [{{name: {server_type}, resources: {{limits: {{memory: 2Gi}}}}}}]\n"
    )


def replace_file(path: Path, text: str) -> None:
    """As a careful writer does: never half there."""
    temporary = path.parent / f".{path.name}.new"
    temporary.write_text(text)
    temporary.rename(path)


class Sink:
    """Implements ports.DesiredSink."""

    def __init__(self) -> None:
        self.models: Mapping[str, TrainedModel] = {}
        self.runtimes: Mapping[str, ServingRuntime] = {}
        self.storage: StorageConfig | None = None
        self.config: Mapping[str, str] = {}
        self.deliveries = 0
        #: What was told of the ConfigMap beside.
        self.settings: list[Mapping[str, str]] = []
        #: Every name that was ever delivered and then was not.
        self.lost: set[str] = set()

    def replace(
        self,
        *,
        models: Mapping[str, TrainedModel],
        runtimes: Mapping[str, ServingRuntime],
        storage: StorageConfig | None,
        config: Mapping[str, str],
        deleted: Collection[tuple[str, str]] | None = None,
    ) -> None:
        """Keep it. Whatever is missing was deleted."""
        assert deleted is None
        self.lost |= self.models.keys() - models.keys()
        self.models, self.runtimes, self.storage, self.config = models, runtimes, storage, config
        self.deliveries += 1

    def change(self, models: Mapping[str, TrainedModel | None], *, deleted: Collection[tuple[str, str]] = ()) -> None:
        """A directory is read as a whole."""
        raise AssertionError("a part of a listing")


@contextmanager
def claimed(state: Path) -> Iterator[Stack]:
    """A stack; whatever a test leaves of it is killed."""
    stack = claim(state)
    try:
        yield stack
    finally:
        sweep(stack.mark, 5.0)
        try:
            stack.release()
        except OSError:
            # The test released it.
            pass


@asynccontextmanager
async def running(work: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    """Work for the length of the context, whose only end is to be cancelled."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled(), task


@asynccontextmanager
async def serving(pods: PodSet, path: Path) -> AsyncIterator[asyncio.Task[Any]]:
    """The supervisor's end of the socket, as long as the context."""
    async with running(PoolServer(pods, path).run()) as server:
        await eventually(path.is_socket)
        yield server


def alive(stack: Stack) -> list[int]:
    """The stack's processes."""
    return carriers(stack.mark)


def environment() -> dict[str, str]:
    """For children of tests."""
    return {"PATH": os.environ["PATH"]}


def uids() -> Callable[[], str]:
    """uid-1, uid-2, …"""
    numbers = itertools.count(1)
    return lambda: f"uid-{next(numbers)}"


def owned(text: str, file: str = "a.yaml") -> dict[str, Owned]:
    """What a file defines, by name."""
    return {d.id.name: Owned(file=file, document=d) for d in parse_file(file, text.encode(), NAMESPACE).documents}


def record(text: str, now: str = "2026-01-01T00:00:00Z") -> Record:
    """The first record of a model."""
    (written,) = reconcile({}, owned(text), now=now, new_uid=uids()).written
    return written


def half() -> float:
    """Not random."""
    return 0.5


Json = dict[str, Any]
