"""
A stack to be broken: warm models on each server, two that take turns in memory, and how to break it.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from tests.log_lines import events
from tests.standalone.manifests import serving_runtime, trained_model
from tests.standalone.models import Models
from tests.standalone.processes import Process
from tests.standalone.servers import repository
from tests.standalone.stack import Stack
from tests.standalone.store import Store
from tests.standalone.verdicts import Window
from tests.standalone.waiting import wait_until
from tests.standalone.watch import Watch

#: Warm model → the prober that it is.
WARM: Final = {"warm-sklearn": 1, "warm-onnx": 2}
#: Two for whom there is room for one: each request to the one that stands by is a cold one.
TURNS: Final = ("turn-0", "turn-1")
SMALL: Final = "room-for-one"
#: What a model's way into memory and out of it leaves in the adapters' logs.
MOVES: Final = frozenset({"copy_loaded", "copy_unloaded", "copy_downloaded", "stray_unloaded", "server_lost"})
#: A server with all that it imports, on a machine that does other things too.
BACK_S: Final = 60.0


@contextmanager
def breakable(root: Path, store: Store, models: Models) -> Iterator[Stack]:
    """The stack, with all of that READY."""
    root.mkdir(exist_ok=True)
    stack = Stack(root)
    stack.secret(default=store.entry())
    with stack:
        stack.apply(
            serving_runtime(SMALL, "mlserver", ["sklearn"], memory=str(8 << 20)),
            trained_model("warm-sklearn", models.uri("probe-1.joblib"), "sklearn"),
            trained_model("warm-onnx", models.uri("probe-2.onnx"), "onnx"),
            *(
                trained_model(name, models.uri(f"padded-{number}.joblib"), "sklearn", runtime=SMALL)
                for number, name in enumerate(TURNS)
            ),
        )
        stack.wait_ready(*WARM, *TURNS)
        yield stack


def standby(stack: Stack) -> str:
    """The one of TURNS that is not in memory."""

    def found() -> str:
        models = stack.listed()
        loaded = [any(c["state"] == "Loaded" for c in models[name]["live"]["copies"]) for name in TURNS]
        return TURNS[loaded.index(False)] if any(loaded) else ""

    return wait_until(found, "none of the two is in memory")


def moves(stack: Stack, names: frozenset[str] = frozenset(WARM)) -> Counter[str]:
    """How often any adapter has moved one of these models, or lost its server, so far."""
    counted: Counter[str] = Counter()
    for event in events(stack.text()):
        if event["event"] in MOVES and event.get("trained_model", next(iter(names))) in names:
            counted[event["event"]] += 1
    return counted


def kill(*processes: Process) -> Window:
    """SIGKILL to all of them at once. From when until when they died: the kernel closes no socket before memory is freed."""
    assert processes
    start = time.monotonic()
    for process in processes:
        process.send(signal.SIGKILL)
    # Not "is a zombie": a process's first thread is one before the others have let go of the sockets.
    wait_until(lambda: not any(psutil.pid_exists(p.pid) for p in processes), "it does not die", poll=0.001)
    return Window(start, time.monotonic())


@contextmanager
def deaths(stack: Stack, runtime: str) -> Iterator[list[Window]]:
    """When each server of this runtime's only pod ended by itself, one after the other, until the context ends."""
    home, died, over = repository(stack, runtime).resolve(), list[Window](), threading.Event()

    def has(server: Process) -> bool:
        # Triton's is a link to it.
        return any(Path(word.rpartition("=")[2]).resolve() == home for word in server.command.split())

    def follow() -> None:
        while not over.wait(0.05):
            alive = time.monotonic()
            for server in stack.processes("mlserver", "triton"):
                if has(server) and (window := _end(server, alive, over)):
                    died.append(window)

    thread = threading.Thread(target=follow, name="deaths")
    thread.start()
    try:
        yield died
    finally:
        over.set()
        thread.join()


def _end(process: Process, alive: float, over: threading.Event) -> Window | None:
    """
    From when it was seen last (`alive` at the earliest) until when it was gone with all its threads and sockets.

    None if it is not before all is over. Who looks may be late, by more than who was in its hands is told.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return Window(alive, time.monotonic())
    try:
        while not over.is_set():
            looked = time.monotonic()
            if select.select([handle], [], [], 0.05)[0]:
                return Window(alive, time.monotonic())
            alive = looked
        return None
    finally:
        os.close(handle)


def wait_warm(watch: Watch) -> None:
    """The warm models answer now, each as itself."""
    for name, number in WARM.items():
        watch.witness.heard(name, number, within=BACK_S)


def wait_started_again(stack: Stack, before: tuple[Process, ...], *, within: float = BACK_S) -> None:
    """As many of one role are there as were, and all of them others."""
    role, old = before[0].role, {p.pid for p in before}

    def again() -> bool:
        now = {p.pid for p in stack.processes(role)}
        return len(now) == len(old) and now.isdisjoint(old)

    wait_until(again, f"{role} is not started again", within=within)
    if role == "controller":
        stack.wait_up()
