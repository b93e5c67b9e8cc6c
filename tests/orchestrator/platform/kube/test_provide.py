"""What of ours runs inside MLServer, brought into its pod."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from orchestrator.platform.kube.provide import provide


def test_the_directory_has_the_repository_class_as_it_is_here(tmp_path: Path) -> None:
    """And a second time, since an init container may run again."""
    for _ in range(2):
        provide(tmp_path)
    [file] = tmp_path.iterdir()
    assert file.name == "wml_repository.py"
    assert "class OneDirectoryEach" in file.read_text()


def test_it_is_a_command_that_needs_nothing_but_our_code(tmp_path: Path) -> None:
    """As the pod template has it: a failure is an exit code and a message."""
    command = [sys.executable, "-m", "orchestrator.platform.kube.provide"]
    assert subprocess.run([*command, str(tmp_path)], check=False).returncode == 0
    assert [f.name for f in tmp_path.iterdir()] == ["wml_repository.py"]
    failed = subprocess.run([*command, str(tmp_path / "none")], check=False, capture_output=True)
    assert failed.returncode != 0
    assert b"FileNotFoundError" in failed.stderr
