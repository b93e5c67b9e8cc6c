"""
The supervisor's end of the socket: takes numbers, tells the list of pods.

Each connection gets the whole list at once and again after each change. One
that does not read gets the newest list when it does, never a backlog. A
connection that ends changes nothing.

A leader says its epoch first. What one of a lower epoch than was ever seen
asks for is refused, and each connection is told the highest: a controller that
was frozen, and thaws with old wishes and timers, ends no pod of its successor.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from orchestrator.platform.local.pod_set import PodSet
from orchestrator.platform.local.wire import MAX_LINE_BYTES, End, Epoch, Scale, WireError, parse_wish, pods_line

log = structlog.get_logger(__name__)


class PoolServer:
    """Serves a PodSet."""

    def __init__(self, pods: PodSet, path: Path) -> None:
        self._pods = pods
        self._path = path
        self._connections: set[asyncio.Task[None]] = set()
        #: The highest of any leader so far; never falls.
        self._epoch = 0
        #: What wakes each connection's telling.
        self._bells: set[asyncio.Event] = set()

    async def run(self) -> None:
        """Serve until cancelled."""
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._accept, self._path, limit=MAX_LINE_BYTES)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for task in self._connections:
                task.cancel()
            if self._connections:
                await asyncio.wait(self._connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        changed = asyncio.Event()
        changed.set()
        unlisten = self._pods.listen(changed.set)
        self._bells.add(changed)
        mine = 0
        telling = asyncio.create_task(self._tell(writer, changed))
        try:
            while line := await reader.readline():
                match parse_wish(line):
                    case Epoch(mine):
                        self._raise(mine)
                    case _ if mine < self._epoch:
                        log.warning("stale_leader_refused", epoch=mine, successor=self._epoch)
                    case Scale(template, replicas):
                        self._pods.scale(template, replicas)
                    case End(runtime):
                        self._pods.drop(runtime)
        except (WireError, ValueError) as error:
            # ValueError: a line beyond the limit.
            log.warning("pool_request_refused", reason=str(error))
        except OSError:
            # The other side died; it dials again when it is back.
            pass
        finally:
            unlisten()
            self._bells.discard(changed)
            telling.cancel()
            # Before anything that is awaited: a second cancellation would end this here.
            writer.close()
            await asyncio.wait({telling})

    def _raise(self, epoch: int) -> None:
        if epoch > self._epoch:
            self._epoch = epoch
            for bell in self._bells:
                bell.set()

    async def _tell(self, writer: asyncio.StreamWriter, changed: asyncio.Event) -> None:
        told = 0
        try:
            while True:
                await changed.wait()
                changed.clear()
                if told < self._epoch:
                    told = self._epoch
                    writer.write(Epoch(told).line())
                writer.write(pods_line(self._pods.pods(), self._pods.replicas()))
                await writer.drain()
        except OSError:
            # Seen by the reading side as well, which ends this.
            return
