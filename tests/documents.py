"""
What the documents tell a reader to type, and what they show.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT: Final = "$ "


def fences(text: str, language: str) -> list[str]:
    """The contents of the fenced blocks in that language; "" for those that name none."""
    return [body for kind, body in _FENCE.findall(text) if kind == language]


def typed(text: str) -> list[str]:
    """The commands (`$ ` lines of console blocks), letter by letter."""
    lines = [line for block in fences(text, "console") for line in block.splitlines()]
    for line in lines:
        assert line.startswith(_PROMPT), f"a console block has a line that is no command: {line}"
    return [line.removeprefix(_PROMPT) for line in lines]


def section(text: str, title: str) -> str:
    """What stands below a heading of the second level, up to the next."""
    _, found, rest = text.partition(f"\n## {title}\n")
    assert found, f"no heading {title!r}"
    return rest.partition("\n## ")[0]


def own_serving_runtime() -> str:
    """The ServingRuntime that the documentation shows, as YAML."""
    operations = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
    (shown,) = fences(section(operations.read_text(), "A ServingRuntime of your own"), "yaml")
    return shown
