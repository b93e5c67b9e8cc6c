"""
The adapter: the sidecar beside one Triton or MLServer.

    python -m adapters --listen unix:/run/adapter.sock --server-type triton --server 127.0.0.1:8001 \\
        --model-dir /models/repository --scratch /models/adapter --capacity-bytes 1000000000

Exit codes: 0 after SIGTERM or SIGINT, 1 when it cannot run (an address that is
taken, directories it cannot use, no certificate), 2 for arguments. It leaves
the server's models alone when it ends: one that is started again adopts them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from adapters.drain import Drain
from adapters.health import PATIENCE_S, Health, serve
from adapters.layouts import mlserver as mlserver_layout
from adapters.layouts import triton as triton_layout
from adapters.layouts.plan import Planner
from adapters.ledger import Ledger
from adapters.loader.loader import Loader
from adapters.loader.memory import read
from adapters.loader.places import Places, UnusablePlaces
from adapters.loader.settings import LoaderSettings
from adapters.runtimes.client import RuntimeClient
from adapters.runtimes.mlserver import MLServerClient
from adapters.runtimes.monitor import Monitor
from adapters.runtimes.stubs import conceal
from adapters.runtimes.triton import TritonClient
from adapters.server import AdapterService, Bells, listen
from adapters.storage.limits import StorageLimits
from adapters.storage.s3 import S3Store
from adapters.transport import IdentityFiles

log = structlog.get_logger(__name__)

#: Server type → what makes its client, from the server's address and repository; and what plans a model's layout.
_SERVERS: Final[dict[str, tuple[Callable[[str, Path], RuntimeClient], Planner]]] = {
    "triton": (TritonClient, triton_layout.plan),
    "mlserver": (lambda target, _: MLServerClient(target), mlserver_layout.plan),
}
#: From the signal to the end of the process, whatever still hangs.
_STOP_S: Final = 1.8


def run(argv: Sequence[str]) -> int:
    """Run an adapter until a signal ends it; the exit code."""
    arguments = _parser().parse_args(argv)
    _configure_logs(arguments.pod)
    if arguments.conceal:
        conceal()
    try:
        asyncio.run(_serve(arguments))
    except (UnusablePlaces, RuntimeError, OSError) as error:
        log.critical("adapter_cannot_run", problem=str(error))
        return 1
    return 0


async def _serve(arguments: argparse.Namespace) -> None:
    settings = _settings(arguments)
    places = Places(settings.model_dir, settings.scratch)
    places.open()
    remembered = read(places.ledger)
    bells = Bells()
    ledger = Ledger(settings.capacity_bytes, epoch=remembered.epoch, on_change=bells.ring)
    make_client, planner = _SERVERS[settings.server_type]
    client, monitor, store = (
        make_client(arguments.server, settings.model_dir),
        Monitor(arguments.server),
        S3Store(settings.storage),
    )
    loader = Loader(
        ledger=ledger,
        places=places,
        store=store,
        server=client,
        presence=monitor,
        planner=planner,
        remembered=remembered,
        settings=settings,
    )
    service = AdapterService(ledger, loader, bells)
    stopped = _on_signals()
    try:
        tls = IdentityFiles(arguments.tls_dir) if arguments.tls_dir is not None else None
        server = await listen(arguments.listen, service, tls=tls)
        health = Health(
            ledger=ledger,
            service=service,
            pulse=monitor,
            drain=Drain(ledger, bells, arguments.drain_seconds),
            patience_s=arguments.silent_seconds or PATIENCE_S[arguments.server_type],
            busy_s=loader.busy_s,
        )
        probes = await serve(
            health,
            host=_host(arguments.listen),
            port=arguments.health_port,
            drain_port=arguments.drain_port,
            socket=arguments.health_socket,
        )
        log.info("adapter_started", runtime=settings.runtime, listen=arguments.listen, server=arguments.server)
        work = asyncio.create_task(loader.run())
        stop = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            service.stop()
            await server.stop(grace=0.3)
            await probes.aclose()
            work.cancel()
            stop.cancel()
            await asyncio.wait({work, stop})
        if not work.cancelled():
            await work
    finally:
        await client.close()
        await monitor.close()
        await store.close()
        places.close()
    log.info("adapter_stopped", runtime=settings.runtime)


def _host(listen: str) -> str | None:
    """Where HTTP is served: at the host of --listen, on loopback for a Unix socket. None: at all addresses."""
    host = "127.0.0.1" if listen.startswith("unix:") else listen.rpartition(":")[0].strip("[]")
    # `::` means IPv4 and IPv6 to gRPC, and IPv6 alone to asyncio's servers.
    return None if host == "::" else host


def _on_signals() -> asyncio.Event:
    """Set by the first signal; a while later the process ends even if something hangs."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        if not stopped.is_set():
            stopped.set()
            loop.call_later(_STOP_S, os._exit, 0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopped


def _settings(arguments: argparse.Namespace) -> LoaderSettings:
    return LoaderSettings(
        model_dir=arguments.model_dir,
        scratch=arguments.scratch,
        capacity_bytes=arguments.capacity_bytes,
        runtime=arguments.runtime or arguments.server_type,
        server_type=arguments.server_type,
        server_log=arguments.server_log,
        downloads=arguments.downloads,
        loads=arguments.loads,
        size_factor=arguments.size_factor,
        least_reserve=arguments.least_reserve,
        load_s=arguments.load_seconds,
        recheck_s=arguments.recheck_seconds,
        storage=StorageLimits(
            parts=arguments.parts,
            part_bytes=arguments.part_bytes,
            connect_s=arguments.connect_seconds,
            read_s=arguments.read_seconds,
            attempts=arguments.attempts,
            max_objects=arguments.max_objects,
            max_bytes=arguments.max_bytes,
        ),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="adapter", description="The sidecar beside one model server.")
    add = parser.add_argument
    add("--listen", required=True, help="where leaders dial: unix:/path or host:port")
    add(
        "--tls-dir", type=Path, help="tls.crt, tls.key and ca.crt: leaders prove who they are; without it anybody leads"
    )
    add("--server-type", required=True, choices=sorted(_SERVERS))
    add("--server", required=True, type=_address, help="the model server's gRPC address")
    add("--model-dir", required=True, type=Path, help="the server's repository; all in it is the adapter's")
    add("--scratch", required=True, type=Path, help="on the same file system; all in it is the adapter's")
    add("--capacity-bytes", required=True, type=_positive, help="bytes of model memory")
    add("--runtime", default="", help="the ServingRuntime's name, for messages")
    add("--pod", default="", help="the pod's name, for logs")
    add("--server-log", default="", help="where a person finds the model server's log, for messages")
    add("--downloads", type=_positive, default=4, help="models downloaded at once")
    add("--parts", type=_positive, default=8, help="parts of one model downloaded at once")
    add("--part-bytes", type=_positive, default=8 * 1024 * 1024)
    add("--loads", type=_positive, default=2, help="models that the server loads at once")
    add("--load-seconds", type=_seconds, default=300.0, help="for a Load that states no timeout")
    add("--size-factor", type=_seconds, default=1.25, help="bytes to reserve for a byte on disk")
    add("--least-reserve", type=_positive, default=1_000_000, help="bytes to reserve at least")
    add("--connect-seconds", type=_seconds, default=5.0, help="patience with a store that does not accept")
    add("--read-seconds", type=_seconds, default=30.0, help="patience with a store that is silent")
    add("--attempts", type=_positive, default=3, help="tries of one request to a store")
    add("--max-objects", type=_positive, default=10_000, help="of one model")
    add("--max-bytes", type=_positive, default=1024**4, help="of one model")
    add("--recheck-seconds", type=_seconds, default=60.0, help="how often the sources of failed copies are looked at")
    add("--health-port", type=_port, default=0, help="HTTP for probes and scrapes, at the host of --listen; 0 = none")
    add("--drain-port", type=_port, default=0, help="HTTP for the drain, at the same host; 0 = none")
    add("--health-socket", default="", help="both, at a Unix socket")
    add("--drain-seconds", type=_seconds, default=60.0, help="how long a drain waits for models to be moved")
    add("--silent-seconds", type=_seconds, help="a server that is silent for so long has hung; else by its type")
    add("--conceal", action="store_true", help="hide this process's memory and files from others of its user")
    return parser


def _address(text: str) -> str:
    """HOST:PORT, with an IPv6 host in brackets: a pod knows its own address without them."""
    host, _, port = text.rpartition(":")
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else text


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError("must be positive")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("must be a port")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be positive")
    return number


def _configure_logs(pod: str) -> None:
    """One JSON line an event, or something readable on a terminal; to stderr."""

    def with_pod(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if pod:
            event.setdefault("pod", pod)
        return event

    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            with_pod,
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
