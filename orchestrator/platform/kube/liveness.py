"""
Whether a replica still looks after its lease: a check for `/healthz`.

Every replica asks for the Lease or writes it every second or two, whether it
leads or stands by, and each attempt is bounded. One that has begun none for a
minute stands still, and should be started again. Seen on the way of the
requests themselves, so that nothing can beat while the loop does not turn.

An attempt that fails counts as well: an API server that is away makes no
replica unhealthy.
"""

from __future__ import annotations

from typing import Final

import aiohttp

from orchestrator.machinery.pulse import Pulse

LEASE_BOUND_S: Final = 60.0


def beat_on_lease(trace: aiohttp.TraceConfig, pulse: Pulse) -> None:
    """Have the pulse beat as a request for a Lease begins. `trace` is of the API client's session."""

    async def begun(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        if "leases" in params.url.parts:
            pulse.beat()

    trace.on_request_start.append(begun)
