"""The process: arguments, exit codes, signals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from adapters.__main__ import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """`run` configures them for its process, which here is that of all tests."""
    yield
    structlog.reset_defaults()


def arguments(tmp_path: Path, **changes: str) -> list[str]:
    given = {
        "listen": f"unix:{tmp_path}/a.sock",
        "server-type": "triton",
        "server": "127.0.0.1:9",
        "model-dir": f"{tmp_path}/models",
        "scratch": f"{tmp_path}/scratch",
        "capacity-bytes": "1000",
        "pod": "pod-0",
    } | changes
    return [part for name, value in given.items() for part in (f"--{name}", value)]


@pytest.mark.parametrize(
    "changes",
    [{"server-type": "torchserve"}, {"capacity-bytes": "0"}, {"capacity-bytes": "many"}, {"read-seconds": "inf"}],
)
def test_arguments_that_make_no_sense_are_exit_code_2(tmp_path: Path, changes: dict[str, str]) -> None:
    """And a usage line."""
    with pytest.raises(SystemExit) as caught:
        run(arguments(tmp_path, **changes))
    assert caught.value.code == 2


@pytest.mark.parametrize("changes", [{"listen": "nowhere:at:all"}, {"scratch": "/proc/none"}, {"tls-dir": "/none"}])
def test_what_cannot_run_is_exit_code_1(tmp_path: Path, changes: dict[str, str]) -> None:
    """With one line that says why."""
    assert run(arguments(tmp_path, **changes)) == 1


def test_sigterm_ends_it_with_exit_code_0(tmp_path: Path) -> None:
    """Also while it waits for a server; its log is JSON lines with the pod's name."""
    process = subprocess.Popen(
        [sys.executable, "-m", "adapters", *arguments(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    first = json.loads(process.stderr.readline())
    assert (first["event"], first["pod"]) == ("adapter_started", "pod-0")
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=10)
    assert process.returncode == 0
    assert json.loads(rest.splitlines()[-1])["event"] == "adapter_stopped"
