"""
The command `activator`. Apart from the other commands, so that the process imports no more than it runs.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.activator.run import run as run_activator
from orchestrator.activator.settings import ActivatorSettings
from orchestrator.machinery.logs import configure_logs


async def activator(settings_file: Path) -> None:
    """Serve as an activator until cancelled."""
    settings = ActivatorSettings.load(settings_file)
    configure_logs(settings.log_level, process="activator")
    await run_activator(settings)
