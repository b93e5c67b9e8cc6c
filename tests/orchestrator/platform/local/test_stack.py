"""What a stack claims, and what stands in its way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.platform.local.guard import SHARED_MEMORY
from orchestrator.platform.local.stack import MARK, Port, StackError, claim, shm_prefix
from tests.orchestrator.platform.local.support import claimed, environment


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_claim(tmp_path: Path) -> None:
    """A lasting place and a short private one, which ends with it."""
    with claimed(tmp_path / ("deep" * 30) / "state") as stack:
        assert stack.private.stat().st_mode & 0o777 == 0o700
        assert len(str(stack.socket("pod-12345678"))) < 108
        assert stack.logs.is_dir()
    assert not stack.private.exists()
    assert not stack.pods.exists()
    assert stack.logs.is_dir()


def test_a_state_in_use_is_a_clear_error(tmp_path: Path) -> None:
    """At once, naming the process; released, it is free at once."""
    with claimed(tmp_path), pytest.raises(StackError, match=f"in use by another stack .process {os.getpid()}"):
        claim(tmp_path)
    with claimed(tmp_path):
        pass


def test_a_taken_port_is_a_clear_error(tmp_path: Path, listening: int) -> None:
    """Naming the option; STATE is not kept, nor any private directory."""
    before = set(Path(tempfile.gettempdir()).glob("wml-*"))
    port = Port(flag="--grpc-port", host="127.0.0.1", number=listening)
    with pytest.raises(StackError, match=rf"port {listening} is taken.*--grpc-port"):
        claim(tmp_path, [port])
    with claimed(tmp_path):
        pass
    assert before >= {path for path in Path(tempfile.gettempdir()).glob("wml-*") if path in before}


def test_an_unusable_state_is_a_clear_error(tmp_path: Path) -> None:
    """In one line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="cannot be used: Not a directory"):
        claim(tmp_path / "file" / "state")
    with pytest.raises(StackError, match="not a port"):
        claim(tmp_path / "state", [Port(flag="--grpc-port", host="127.0.0.1", number=70_000)])


def test_what_a_killed_stack_left_is_ended(tmp_path: Path) -> None:
    """Even when its guard was killed too: processes, shared memory, directories."""
    token = "0123456789abcdef" * 2
    private = Path(tempfile.mkdtemp(prefix="wml-"))
    child = subprocess.Popen(["sleep", "100"], env={**environment(), MARK: token})
    segment = SHARED_MEMORY / f"{shm_prefix(token)}left"
    segment.write_text("")
    (tmp_path / "pods" / "old").mkdir(parents=True)
    (tmp_path / "lock").write_text(json.dumps({"pid": 1, "token": token, "private": str(private)}))
    with claimed(tmp_path) as stack:
        assert child.wait(5) == -9
        assert [segment.exists(), private.exists(), list(stack.pods.iterdir())] == [False, False, []]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"private": "/etc", "token": "x", "pid": "y"}'])
def test_a_strange_lock_file_harms_nothing(tmp_path: Path, text: str) -> None:
    """Only what looks like ours is removed."""
    (tmp_path / "lock").write_text(text)
    with claimed(tmp_path):
        assert Path("/etc").is_dir()
