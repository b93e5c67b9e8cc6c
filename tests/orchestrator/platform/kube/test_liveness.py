"""A replica that does not look after its lease is unhealthy; one whose API server is away is not."""

from __future__ import annotations

import aiohttp
import pytest

from orchestrator.machinery.pulse import Pulse
from orchestrator.platform.kube.api import ApiUnreachable, KubeApi
from orchestrator.platform.kube.liveness import LEASE_BOUND_S, beat_on_lease
from orchestrator.platform.kube.paths import core, group
from tests.orchestrator.platform.kube.fake_api import fake_api

LEASE = group("coordination.k8s.io/v1", "leases", "ns", "the-lease")


async def test_only_the_lease_is_a_sign_of_life() -> None:
    """Whatever else is asked; and an attempt that comes to nothing is one."""
    now = 0.0
    pulse = Pulse(lambda: now, LEASE_BOUND_S)
    trace = aiohttp.TraceConfig()
    beat_on_lease(trace, pulse)
    pulse.beat()
    async with fake_api() as fake, KubeApi(fake.url, trace=trace) as api:
        fake.store.put(LEASE, {})
        now = LEASE_BOUND_S + 1
        await api.list(core("pods", "ns"))
        assert pulse.problem() == "nothing has moved for 61 s"
        await api.get(LEASE)
        assert pulse.problem() == ""
    async with KubeApi(fake.url, trace=trace) as api:
        now += LEASE_BOUND_S + 1
        with pytest.raises(ApiUnreachable):
            await api.get(LEASE)
        assert pulse.problem() == ""
