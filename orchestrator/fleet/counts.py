"""
Counters of loads, unloads and failures, as adapters report them.

Only changes count that this leader saw: a copy that is loaded in the first
report was loaded in another leader's term, and is not counted.
"""

from __future__ import annotations

from orchestrator.domain.fleet import Copy, CopyState
from orchestrator.machinery.figures import LONG_S, Counter, Figure, Timing


class FleetCounts:
    """The counters of all runtime pods."""

    def __init__(self) -> None:
        self._loads = Counter("wml_loads", "Copies that were loaded into a server.", "runtime")
        self._downloads = Timing(
            "wml_download_seconds", "How long the files of a loaded copy took to fetch.", "runtime", bounds=LONG_S
        )
        self._load_times = Timing(
            "wml_load_seconds", "How long the server took to load a copy.", "runtime", bounds=LONG_S
        )
        self._unloads = Counter("wml_unloads", "Copies that left a server because they were told to.", "runtime")
        self._failures = Counter("wml_load_failures", "Copies that could not be made.", "runtime", "reason")

    def changed(self, runtime: str, before: Copy | None, after: Copy | None) -> None:
        """A copy was reported. None for `before`: it was not there; None for `after`: it is not there any more."""
        if before is None:
            return
        if after is None:
            if before.state is CopyState.UNLOADING:
                self._unloads.add(runtime)
        elif after.state is before.state:
            return
        elif after.state is CopyState.LOADED:
            self._loads.add(runtime)
            if after.download_s is not None:
                self._downloads.observe(after.download_s, runtime)
            if after.load_s is not None:
                self._load_times.observe(after.load_s, runtime)
        elif after.failure is not None:
            self._failures.add(runtime, after.failure.reason)

    def figures(self) -> list[Figure]:
        """The counters as they stand."""
        counted = (self._loads, self._downloads, self._load_times, self._unloads, self._failures)
        return [each.read() for each in counted]
