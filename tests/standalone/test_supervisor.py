"""
The supervisor owns every process: they come with it and go with it, however it goes.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.processes import Process
from tests.standalone.stack import Stack, listens
from tests.standalone.waiting import wait_until

#: A Unix socket's path has 107 bytes, and Triton's stub gets its paths by a command line.
_LONG = "a very long näme of a directory/" * 8


def left_behind(stack: Stack, processes: tuple[Process, ...], files: frozenset[str]) -> list[str]:
    """What is still there of a stack that should be gone."""
    left = [f"process: {p.command}" for p in (*processes, *stack.processes()) if p.alive]
    left += [f"port {port}" for port in (stack.grpc_port, stack.admin_port) if listens(port)]
    left += [f"file: {path}" for path in files if Path(path).exists()]
    return left


@pytest.mark.parametrize(("number", "within"), [(signal.SIGKILL, 5.0), (signal.SIGTERM, 10.0), (signal.SIGINT, 10.0)])
def test_all_go_with_the_supervisor(
    make_stack: Callable[..., Stack],
    shared: Stack,
    line: dict[str, str],
    models: Models,
    tmp_path: Path,
    number: signal.Signals,
    within: float,
) -> None:
    """
    No process, no port, no shared memory, no socket and no temporary file is left, Triton's stubs included.

    The stack has a STATE longer than a Unix socket's path may be, with spaces and letters beyond ASCII, works below another directory, and runs beside
    another stack, which does not notice.
    """
    root = tmp_path / "own"
    stack = make_stack(state=root / _LONG / "state", cwd=Path("/"))
    stack.start()
    stack.apply(
        trained_model("digits-onnx", models.uri("probe-1.onnx"), "onnx"),
        trained_model("digits-sklearn", models.uri("probe-2.joblib"), "sklearn"),
    )
    stack.wait_ready("digits-onnx", "digits-sklearn")
    with stack.client() as ours, shared.client() as theirs:
        for name, offset in (("digits-onnx", 100), ("digits-sklearn", 200)):
            assert list(ours.classes(name, models.probes)) == list(models.probe_labels + offset)
            assert max(theirs.classes(name, models.probes)) < 10
    processes = stack.processes()
    roles = {"supervisor", "controller", "activator", "envoy", "adapter", "triton", "stub", "mlserver"}
    assert {p.role for p in processes} >= roles
    files = frozenset(path for p in processes for path in p.footprint())
    assert any("/dev/shm/" in path for path in files)
    assert any(path.endswith(".sock") for path in files)

    os.kill(stack.supervisor, number)
    wait_until(
        lambda: not left_behind(stack, processes, files),
        lambda: f"left: {left_behind(stack, processes, files)}",
        within=within,
    )
    assert not list(stack.temporary.iterdir())
    if number is not signal.SIGKILL:
        assert stack.stop() == 0
    with shared.client() as theirs:
        assert max(theirs.classes(line["onnx"], models.probes)) < 10


def refused(stack: Stack) -> str:
    """What it says when it ends by itself with exit code 2."""
    done = subprocess.run(stack.arguments(), capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("port", ["grpc_port", "admin_port"])
def test_taken_port_is_a_clear_error(shared: Stack, make_stack: Callable[..., Stack], port: str) -> None:
    """It names the port, ends with code 2, and leaves who has it alone."""
    taken: int = getattr(shared, port)
    stack = make_stack(**{port: taken})
    assert str(taken) in refused(stack)
    assert not stack.processes()
    with shared.client() as client:
        assert client.triton.is_server_live() is True


def test_state_in_use_is_a_clear_error(shared: Stack, make_stack: Callable[..., Stack]) -> None:
    """Two stacks on one STATE: the second names it and ends with code 2."""
    second = make_stack(state=shared.state)
    second.grpc_port, second.admin_port = free_port(), free_port()
    assert str(shared.state) in refused(second)
    with shared.client() as client:
        assert client.triton.is_server_live() is True


def test_state_is_free_again_after_a_kill(make_stack: Callable[..., Stack], models: Models) -> None:
    """What a SIGKILL leaves in STATE hinders no new stack on the same STATE and ports."""
    stack = make_stack()
    stack.start()
    stack.apply(trained_model("digits", models.uri("probe-3.joblib"), "sklearn"))
    stack.wait_ready("digits")
    before = stack.get("digits")
    assert before is not None
    stack.kill()
    wait_until(lambda: not stack.processes(), "its processes do not go", within=5)
    stack.start()
    after = stack.get("digits")
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    with stack.client() as client:
        assert list(client.classes("digits", models.probes)) == list(models.probe_labels + 300)
