"""
The product as a user has it: `wml-serving standalone`, its admin API and its verbs.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from samples.demo.process import DemoError, run, running, tail

GRPC_PORT: Final = 8033
ADMIN_PORT: Final = 8080

_READY_S: Final = 120.0
_POLL_S: Final = 0.1
#: Reasons that pass by themselves; with any other, somebody has to mend something.
_ON_THE_WAY: Final = frozenset(
    {"RuntimeStarting", "Downloading", "Loading", "RuntimeUnavailable", "StorageUnavailable"}
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What condition Ready says of a model."""

    ready: bool
    reason: str
    message: str

    def __str__(self) -> str:
        if self.ready:
            return f"READY: {self.message}"
        return f"{self.reason}: {self.message}" if self.message else self.reason

    @property
    def final(self) -> bool:
        """Whether waiting is of no use."""
        return not self.ready and self.reason not in _ON_THE_WAY


def standings(models: Iterable[Mapping[str, Any]]) -> dict[str, Standing]:
    """By name, of the models that have condition Ready already."""
    found = {}
    for model in models:
        for condition in model.get("status", {}).get("conditions") or []:
            if condition["type"] == "Ready":
                found[model["metadata"]["name"]] = Standing(
                    condition["status"] == "True", condition["reason"], condition.get("message", "")
                )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stack that runs."""

    grpc_port: int
    admin_port: int
    logs: Path
    process: Process

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    async def verb(self, *arguments: str) -> str:
        """What `wml-serving get` or `describe` prints."""
        return await run(_command(), *arguments, "--admin", self.admin, log=self.logs / "verb.log")

    async def ready(self, names: Iterable[str], on_change: Callable[[str, Standing], None]) -> None:
        """Wait until all these models are; `on_change` hears each change. Raises DemoError when they will not be."""
        wanted = frozenset(names)
        seen: dict[str, Standing] = {}
        try:
            async with asyncio.timeout(_READY_S), aiohttp.ClientSession() as session:
                while not (wanted <= seen.keys() and all(seen[name].ready for name in wanted)):
                    for name, standing in standings(await self._models(session)).items():
                        if name in wanted and seen.get(name) != standing:
                            seen[name] = standing
                            on_change(name, standing)
                    if failed := sorted(name for name, standing in seen.items() if standing.final):
                        raise DemoError(f"{', '.join(failed)} will not get ready by waiting")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            missing = sorted(name for name in wanted if name not in seen or not seen[name].ready)
            raise DemoError(f"not ready after {_READY_S:.0f} s: {', '.join(missing)}") from None

    async def _models(self, session: aiohttp.ClientSession) -> list[Mapping[str, Any]]:
        """None before the API answers."""
        if self.process.returncode is not None:
            raise DemoError(f"wml-serving ended with {self.process.returncode}")
        try:
            async with session.get(f"{self.admin}/v1/trainedmodels") as response:
                models: list[Mapping[str, Any]] = (await response.json())["items"] if response.ok else []
                return models
        except aiohttp.ClientConnectionError:
            return []

    async def diagnosis(self) -> str:
        """What somebody who looks for the cause wants to see: the models that are not ready, and the end of the log."""
        try:
            async with aiohttp.ClientSession() as session:
                found = standings(await self._models(session))
            unready = sorted(name for name, standing in found.items() if not standing.ready)
            parts = [await self.verb("describe", "trainedmodel", name) for name in unready]
        except DemoError as error:
            parts = [f"{error}\n"]
        return "\n".join([*parts, "the end of wml-serving's log:", tail(self.logs / "wml-serving.log")])


@asynccontextmanager
async def standalone(directory: Path, state: Path, logs: Path) -> AsyncIterator[Stack]:
    """`wml-serving standalone` on its own ports, or on free ones where they are taken."""
    grpc_port, admin_port = free_port(GRPC_PORT), free_port(ADMIN_PORT)
    ports = ("--grpc-port", str(grpc_port), "--admin-port", str(admin_port))
    command = (_command(), "standalone", str(directory), "--state-dir", str(state), *ports)
    async with running(*command, log=logs / "wml-serving.log") as process:
        yield Stack(grpc_port=grpc_port, admin_port=admin_port, logs=logs, process=process)
    if process.returncode != 0:
        raise DemoError(f"wml-serving ended with {process.returncode}:\n{tail(logs / 'wml-serving.log')}")


def free_port(wanted: int) -> int:
    """`wanted` if nothing listens on it, else any that is free."""
    try:
        return _bound(wanted)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return _bound(0)


def _bound(port: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of the run before, which linger, do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("", port))
        number: int = probe.getsockname()[1]
        return number


def _command() -> str:
    return str(Path(sys.executable).parent / "wml-serving")
