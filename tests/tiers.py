"""
What the tiers that need a capable machine have in common: all tests of a folder, and the machine's excuse.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


def claim(items: list[pytest.Item], folder: Path, mark: str, *check: str | Path) -> None:
    """Mark all tests of `folder`; skip them where the command `check` says why the machine cannot run them."""
    mine = [item for item in items if folder in item.path.parents]
    if not mine:
        return
    done = subprocess.run(check, capture_output=True, text=True, check=False) if check else None
    excuse = "; ".join(done.stderr.split("\n")).strip("; ") if done is not None and done.returncode else ""
    for item in mine:
        item.add_marker(mark)
        if excuse:
            item.add_marker(pytest.mark.skip(reason=excuse))
