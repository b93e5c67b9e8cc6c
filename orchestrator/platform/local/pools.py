"""
The controller's end of the socket: the supervisor's pods as ports.Pools.

Dials again for ever. Numbers that were asked for while nobody listened are
sent when somebody does; a supervisor that is not there is no list, and no list
is no call. A supervisor that has heard a later leader ends this one's term.

How many pods a pool is to have is the supervisor's word, and counts from the
moment that it is wanted here: the controller would ask for one more otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Never

import structlog

from orchestrator.domain.fleet import Pod, Pool
from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.machinery.backoff import Backoff
from orchestrator.machinery.term import Term
from orchestrator.platform.local.launch import PodTemplate
from orchestrator.platform.local.wire import (
    MAX_LINE_BYTES,
    MAX_REPLICAS,
    End,
    Epoch,
    Scale,
    WireError,
    Wish,
    parse_pods,
)
from orchestrator.ports import OnPods

log = structlog.get_logger(__name__)

_BASE_S: Final = 0.05
_CAP_S: Final = 2.0
_TOO_LARGE: Final = f"the environment that its ServingRuntime gives it is larger than {MAX_LINE_BYTES >> 20} MiB"


class SupervisorPools:
    """Implements ports.Pools."""

    def __init__(self, path: Path, term: Term, random: Callable[[], float]) -> None:
        """`path` is the supervisor's socket, `term` the asker's."""
        self._path = path
        self._term = term
        self._backoff = Backoff(_BASE_S, _CAP_S, random)
        #: What was asked for last, by runtime.
        self._wanted: dict[str, Wish] = {}
        #: Runtimes whose wish the supervisor has not been told in this connection.
        self._untold: set[str] = set()
        #: What was asked for last and cannot be said, by runtime: no line has room for it.
        self._unsayable: dict[str, Scale] = {}
        self._work = asyncio.Event()
        self._on_pods: OnPods | None = None
        #: What the supervisor said last; None: nothing yet.
        self._listed: tuple[tuple[Pod, ...], dict[str, Pool]] | None = None

    async def scale(self, runtime: ServingRuntime, replicas: int) -> None:
        """Have `replicas` pods of this runtime. Returns before they run."""
        wish = Scale(PodTemplate.of(runtime), min(max(0, replicas), MAX_REPLICAS))
        if runtime.readable and self._sayable(wish):
            self._wish(runtime.name, wish)
        elif not replicas:
            # Nothing to make one from: those that there are stay for as long as they are needed.
            await self.end(runtime.name)

    async def end(self, runtime: str) -> None:
        """Have no pods of the runtime of that name. Returns before they are gone."""
        self._wish(runtime, End(runtime))

    def _sayable(self, wish: Scale) -> bool:
        """Whether the supervisor would take it. It would hang up on a line that is too long, and hear of no other pool."""
        runtime = wish.template.runtime
        if self._unsayable.get(runtime) == wish:
            return False
        if len(wish.line()) <= MAX_LINE_BYTES:
            return True
        if wish.replicas:
            self._unsayable[runtime] = wish
            log.warning("pool_refused", runtime=runtime, problem=_TOO_LARGE)
            self._say()
        return False

    def _wish(self, runtime: str, wish: Wish) -> None:
        mended = self._unsayable.pop(runtime, None) is not None
        if self._wanted.get(runtime) != wish:
            self._wanted[runtime] = wish
            self._untold.add(runtime)
            self._work.set()
        elif not mended:
            return
        self._say()

    def _say(self) -> None:
        if self._on_pods is None or self._listed is None:
            return
        pods, pools = self._listed
        wanted = {r: Pool(wish.replicas if isinstance(wish, Scale) else 0) for r, wish in self._wanted.items()}
        unsayable = {r: Pool(wish.replicas, _TOO_LARGE) for r, wish in self._unsayable.items()}
        self._on_pods(pods, pools | wanted | unsayable)

    async def run(self, on_pods: OnPods) -> Never:
        """Call back with the complete list of pods and pools, now and on each change, until cancelled."""
        self._on_pods = on_pods
        connected = True
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path, limit=MAX_LINE_BYTES)
            except OSError as error:
                if connected:
                    log.warning("supervisor_unreachable", reason=error.strerror or type(error).__name__)
                connected = False
            else:
                connected = True
                await self._converse(reader, writer)
            await asyncio.sleep(self._backoff.next())

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._untold = set(self._wanted)
        self._work.set()
        telling = asyncio.create_task(self._tell(writer))
        try:
            while line := await reader.readline():
                if (latest := Epoch.parse(line)) is not None:
                    self._term.hear(latest.number, "supervisor")
                else:
                    self._listed = parse_pods(line)
                    self._say()
                self._backoff.reset()
        except (WireError, ValueError) as error:
            log.warning("supervisor_misunderstood", reason=str(error))
        except OSError:
            # It went away; the list as it was stays the truth.
            pass
        finally:
            telling.cancel()
            # Before anything that is awaited: a second cancellation would end this here.
            writer.close()
            await asyncio.wait({telling})

    async def _tell(self, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(Epoch(self._term.epoch).line())
            while True:
                await self._work.wait()
                if self._term.over:
                    return
                self._work.clear()
                while self._untold:
                    writer.write(self._wanted[self._untold.pop()].line())
                await writer.drain()
        except OSError:
            # Seen by the reading side as well, which ends this.
            return
