"""
A pod's adapter is asked to drain, as a kubelet's preStop hook asks in a cluster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import aiohttp
import structlog

from orchestrator.platform.local.adapter_health import asked

log = structlog.get_logger(__name__)

#: More than an adapter takes by its own clock.
_LONGEST_S: Final = 75.0


async def handed_over(socket: Path, pod: str) -> None:
    """
    Return when the models of the pod have been moved, or its adapter's time for that is up.

    Or at once when it does not answer: there is nothing to be waited for then.
    """
    try:
        _, result = await asked(socket, "/drain", _LONGEST_S)
    except (aiohttp.ClientError, TimeoutError) as error:
        result = f"its adapter does not answer: {type(error).__name__}"
    log.info("pod_drained", pod=pod, result=result)
