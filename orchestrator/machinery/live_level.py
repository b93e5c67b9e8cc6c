"""
The level of logs, as ConfigMap `wml-serving-config` has it now.

Apart from what decides by the other settings: a standby has a log, too, and
decides nothing. What is wrong in the ConfigMap is reported by who decides.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.domain.config import Config, parse_config
from orchestrator.machinery.logs import set_level


class LiveLevel:
    """What a source calls with the ConfigMap's data."""

    def __init__(self) -> None:
        self._last = Config()

    def __call__(self, data: Mapping[str, str]) -> None:
        """From now on the level that is asked for there; the last one as long as that is none."""
        self._last, _ = parse_config(data, Config(), self._last)
        set_level(self._last.log_level)
