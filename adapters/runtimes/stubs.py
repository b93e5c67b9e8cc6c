"""
The processes in which Triton's Python backend runs models: one an instance.

Triton does not notice that one has ended, be it killed, out of memory or
crashed by a request: the model stays READY in all that it says, and each
request to it fails, until it is loaded again. So they are watched here, by the
kernel's word. A process is known to belong to a model by its command line,
which names a file of the model's directory; it is looked for once its model is
loaded, so that it counts before the first request comes.

Two loads of a model may follow each other so closely that both have their
processes when they are looked for: Triton goes on with the load of an adapter
that died, and only then begins the next one's. The elder ones are about to end
because they were replaced, so they do not count.

One that ends while there is no adapter goes unnoticed by the next adapter.
Where the server runs in another pid namespace (a pod without
`shareProcessNamespace`) none is seen, and Triton's word stands. Native backends
have no such processes.
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

#: Its own: those of the event loop resolve the names of stores, and a load must not wait for a name server.
_THREAD: Final = ThreadPoolExecutor(1, thread_name_prefix="stubs")
_STUB: Final = "triton_python_backend_stub"
#: Where its own words are in a command line: the file, and whose it is.
_FILE: Final = 1
_NAME: Final = 8
_PR_SET_DUMPABLE: Final = 4


def conceal() -> None:
    """
    Keep other processes of this user from reading this one's memory and files.

    In a pod that shares its process namespace each sees the others, and `/proc` would show a model's code the keys
    and credentials that only the adapter has. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def instance_of(command: bytes, repository: Path) -> tuple[str, str] | None:
    """The model, and the name among its instances, of a process with this command line (words end in NUL), if any."""
    words = [os.fsdecode(word) for word in command.split(b"\0")[:-1]]
    if len(words) <= _NAME or os.path.basename(words[0]) != _STUB:
        return None
    file = Path(os.path.realpath(words[_FILE]))
    if not file.is_relative_to(repository) or file == repository:
        return None
    model, name = file.relative_to(repository).parts[0], words[_NAME]
    # One that is called like the model itself is not an instance: it completes the configuration, and ends.
    return (model, name) if name != model else None


class Stubs:
    """Knows whether all instances live that a model had after its last load."""

    def __init__(self, repository: Path) -> None:
        self._repository = Path(os.path.realpath(repository))
        #: Model → its processes → the descriptor that tells of its end; None once that has come.
        self._instances: dict[str, dict[int, int | None]] = {}
        self._ended: asyncio.Queue[str] = asyncio.Queue()

    async def look(self, model: str | None = None) -> None:
        """`model` was loaded just now, in processes of its own; None: whatever is there is taken as it is."""
        found = await asyncio.get_running_loop().run_in_executor(_THREAD, _scan, self._repository)
        if model is None:
            self.close()
        for name in found if model is None else [model]:
            # Those of the load before may still be busy.
            fresh = found.get(name, frozenset()) - self._instances.get(name, {}).keys()
            self.forget(name)
            if fresh:
                self._instances[name] = {pid: self._watch(name, pid) for pid in fresh}

    def whole(self, model: str) -> bool:
        """Whether none of its instances is known to have ended."""
        return None not in self._instances.get(model, {}).values()

    async def ended(self) -> str:
        """Return a model of which an instance has ended, perhaps because it was told to."""
        return await self._ended.get()

    def forget(self, model: str) -> None:
        """What ends from now on was meant to."""
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
    """Model → the processes of its last load that live now: of each name the youngest."""
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
            continue  # it has ended, or is none of our business
        youngest[instance] = max(youngest.get(instance, (0, 0)), (born, int(entry)))
    found: dict[str, frozenset[int]] = {}
    for (model, _), (_, pid) in youngest.items():
        found[model] = found.get(model, frozenset()) | {pid}
    return found


def _born(stat: bytes) -> int:
    """When a process was started, in ticks since the machine was: field 22; the second one may hold anything."""
    return int(stat.rpartition(b")")[2].split()[19])
