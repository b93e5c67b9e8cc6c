"""Tests that are killed leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.standalone.processes import mentioning
from tests.standalone.waiting import wait_until

_CODE = """
import pathlib, sys, time
from tests.standalone.stack import Stack
from tests.standalone.store import Store
root = pathlib.Path(sys.argv[1])
store = Store(root, access_key="a", secret_key="b")
store.start()
Stack(root).start()
print("up", flush=True)
time.sleep(100)
"""


def test_a_store_and_a_stack_end_with_the_tests_that_are_killed(tmp_path: Path) -> None:
    """SIGKILL, so that no fixture of theirs is torn down."""
    command = [sys.executable, "-c", _CODE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2]) as tests:
        assert tests.stdout is not None
        assert tests.stdout.readline() == "up\n"
        assert len(mentioning(tmp_path)) > 3
        tests.kill()
    wait_until(lambda: not mentioning(tmp_path), lambda: f"left: {mentioning(tmp_path)}", within=30)
