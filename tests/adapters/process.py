"""The adapter as it runs in a pod: a process beside a server, dialled by a leader."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from protos import fleet_pb2_grpc
from tests.adapters.leader import READY, Leader
from tests.adapters.world import until
from tests.leash import leashed
from tests.small_disk import on_small_disk, seen_by
from tests.trees import files_below

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Adapter:
    """One process. `models` and `scratch` are as it sees them."""

    process: subprocess.Popen[bytes]
    address: str
    models: Path
    scratch: Path

    @property
    def peak_kib(self) -> int:
        """The most memory that it ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    def listens(self) -> bool:
        """Whether it accepts connections."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.address.removeprefix("unix:")) == 0

    def kill(self) -> None:
        """As the kernel does it."""
        self.process.kill()
        self.process.wait()

    def files(self) -> list[str]:
        """What is in its directories but for its ledger and lock."""
        roots = (self.models, *(self.scratch / name for name in ("staging", "aside")))
        return sorted(path.name for root in roots for path in files_below(root))


@contextmanager
def adapter(root: Path, server: str, *, disk_bytes: int = 0, options: tuple[str, ...] = ()) -> Iterator[Adapter]:
    """One over `root`/pod, which is a small disk of its own if told so. Its log is `root`/adapter.log."""
    pod = root / "pod"
    pod.mkdir(exist_ok=True)
    address = f"unix:{root}/a.sock"
    command = [
        *leashed([sys.executable, "-m", "adapters"]),
        *("--listen", address, "--server-type", "triton", "--server", server),
        *("--model-dir", f"{pod}/models", "--scratch", f"{pod}/scratch", "--capacity-bytes", str(10**11)),
        *options,
    ]
    if disk_bytes:
        command = on_small_disk(pod, disk_bytes, command)
    with (root / "adapter.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
    view = seen_by(process.pid, pod)
    try:
        yield Adapter(process, address, view / "models", view / "scratch")
    finally:
        process.terminate()
        process.wait(10)


@asynccontextmanager
async def leading(adapter: Adapter, epoch: int = 1) -> AsyncIterator[Leader]:
    """A leader that has met it and its server."""
    await until(adapter.listens)
    async with grpc.aio.insecure_channel(adapter.address) as channel:
        leader = Leader(fleet_pb2_grpc.AdapterStub(channel), epoch)
        await leader.until(lambda: leader.last.server == READY)
        yield leader
