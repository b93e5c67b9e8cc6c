"""
Watches the stub processes in which Triton's Python backend runs models: one for each instance.

Triton does not notice that a stub has ended (killed, out of memory, or crashed by
a request): it reports the model as READY, and each request to the model fails
until it is loaded again. So stubs are watched here, through the kernel. A stub's
command line names a file in its model's directory, which tells the model. Stubs
are looked for once their model is loaded, so that they are watched before the
first request comes.

Two loads of a model may follow each other so closely that the stubs of both are
found: Triton goes on with the load of an adapter that died, and only then begins
the next adapter's. The older stubs are about to end because they were replaced,
so they do not count.

A stub that ends while no adapter runs goes unnoticed by the next adapter. If the
server runs in another pid namespace (a pod without `shareProcessNamespace`) no
stub is seen, and Triton's answers are believed. Native backends have no stubs.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

#: Its own thread: the event loop's threads resolve the names of stores, and a load must not wait for a name server.
_THREAD: Final = ThreadPoolExecutor(1, thread_name_prefix="stubs")
_STUB: Final = "triton_python_backend_stub"
#: Positions in a stub's command line: of the model's file, and of the instance's name.
_FILE: Final = 1
_NAME: Final = 8
_PR_SET_DUMPABLE: Final = 4


def conceal() -> None:
    """
    Keep other processes of this user from reading this one's memory and files.

    In a pod that shares its process namespace each process sees the others: through `/proc` a model's code could read
    the keys and credentials that only the adapter has. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def instance_of(command: bytes, repository: Path) -> tuple[str, str] | None:
    """The model and the instance of the stub with this command line (words end in NUL); None if it is no stub."""
    words = [os.fsdecode(word) for word in command.split(b"\0")[:-1]]
    if len(words) <= _NAME or os.path.basename(words[0]) != _STUB:
        return None
    file = Path(os.path.realpath(words[_FILE]))
    if not file.is_relative_to(repository) or file == repository:
        return None
    model, name = file.relative_to(repository).parts[0], words[_NAME]
    # A stub named like the model itself is no instance: it completes the model's configuration, and ends.
    return (model, name) if name != model else None


class Stubs:
    """Knows whether all instances that a model had after its last load are still alive."""

    def __init__(self, repository: Path) -> None:
        self._repository = Path(os.path.realpath(repository))
        #: Model → pid of each of its stubs → pidfd that signals its end; None once it has ended.
        self._instances: dict[str, dict[int, int | None]] = {}
        self._ended: asyncio.Queue[str] = asyncio.Queue()

    async def look(self, model: str | None = None) -> None:
        """Find the stubs of `model`, which was loaded just now; None: watch all stubs that there are."""
        found = await asyncio.get_running_loop().run_in_executor(_THREAD, _scan, self._repository)
        if model is None:
            self.close()
        for name in found if model is None else [model]:
            # Stubs of the load before may still be busy.
            fresh = found.get(name, frozenset()) - self._instances.get(name, {}).keys()
            self.forget(name)
            if fresh:
                self._instances[name] = {pid: self._watch(name, pid) for pid in fresh}

    def whole(self, model: str) -> bool:
        """Whether none of the model's instances is known to have ended."""
        return None not in self._instances.get(model, {}).values()

    async def ended(self) -> str:
        """Return a model of which an instance has ended, perhaps because the model was unloaded."""
        return await self._ended.get()

    def forget(self, model: str) -> None:
        """Stop watching the model's stubs: they are meant to end."""
        for descriptor in self._instances.pop(model, {}).values():
            if descriptor is not None:
                _unwatch(descriptor)

    def close(self) -> None:
        """Watch no more."""
        for model in list(self._instances):
            self.forget(model)

    def _watch(self, model: str, pid: int) -> int | None:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._ended.put_nowait(model)
            return None
        asyncio.get_running_loop().add_reader(descriptor, partial(self._note, model, pid, descriptor))
        return descriptor

    def _note(self, model: str, pid: int, descriptor: int) -> None:
        _unwatch(descriptor)
        self._instances[model][pid] = None
        self._ended.put_nowait(model)


def _unwatch(descriptor: int) -> None:
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


def _scan(repository: Path) -> Mapping[str, frozenset[int]]:
    """Model → the living stubs of its last load: for each instance's name the youngest."""
    youngest: dict[tuple[str, str], tuple[int, int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            instance = instance_of(Path("/proc", entry, "cmdline").read_bytes(), repository)
            if instance is None:
                continue
            born = _born(Path("/proc", entry, "stat").read_bytes())
        except OSError:
            continue  # the process has ended, or may not be read
        youngest[instance] = max(youngest.get(instance, (0, 0)), (born, int(entry)))
    found: dict[str, frozenset[int]] = {}
    for (model, _), (_, pid) in youngest.items():
        found[model] = found.get(model, frozenset()) | {pid}
    return found


def _born(stat: bytes) -> int:
    """When a process was started, in ticks since boot: field 22; field 2 (the name) may hold spaces and brackets."""
    return int(stat.rpartition(b")")[2].split()[19])
