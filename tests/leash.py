"""Processes that end with the test run, whatever ends that: SIGKILL of it runs no cleaning up."""

from __future__ import annotations

from collections.abc import Sequence


def leashed(command: Sequence[str]) -> list[str]:
    """
    The command that gets SIGTERM when the thread that started it ends.

    SIGTERM and not SIGKILL: what it has started in turn it ends itself.
    """
    return ["setpriv", "--pdeathsig", "TERM", *command]
