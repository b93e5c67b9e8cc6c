"""One replica against an API server; what it does when all is well is seen in a cluster (tests/cluster)."""

from __future__ import annotations

import asyncio
import socket
from argparse import Namespace

import pytest

from orchestrator.cli.replica import Replica
from orchestrator.domain.errors import Deposed, LeadLost
from orchestrator.machinery.pulse import Pulse
from orchestrator.platform.kube import names
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.counts import KubeCounts
from orchestrator.platform.kube.election import Record, Timing
from orchestrator.platform.kube.lease import raw_of, record_of
from orchestrator.platform.kube.paths import group
from tests.orchestrator.platform.kube.fake_api import Answer, Call, fake_api
from tests.orchestrator.waiting import eventually

LEASE = group("coordination.k8s.io/v1", "leases", "ns", names.ORCHESTRATOR_NAME)
ARGUMENTS = Namespace(
    namespace="ns",
    identity="pod-a",
    address="10.0.0.7",
    image="image",
    runtime_user=None,
    models_api="serving.kubeflow.org/v1alpha1",
    bind="127.0.0.1",
    max_message_bytes=1 << 20,
)


def without_certificates(call: Call) -> Answer | None:
    """As where the right to Secrets is missing."""
    refusal = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"}
    return Answer(403, refusal) if "/secrets" in call.path else None


@pytest.mark.parametrize("rival", ["pod-b", ""], ids=["another holds it", "it is let go"])
async def test_a_lease_lost_before_there_is_a_certificate_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, rival: str
) -> None:
    """Who waits for its first one would else neither lead nor stand by, and be healthy."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setattr(names, "ADMIN_PORT", free.getsockname()[1])
    monkeypatch.setattr("orchestrator.platform.kube.lease.Timing", lambda: Timing(retry_s=0.02))
    async with fake_api() as fake, KubeApi(fake.url) as api:
        fake.meet = without_certificates
        replica = Replica(api, ARGUMENTS, KubeCounts(), Pulse(lambda: 0.0, 60.0))
        running = asyncio.create_task(replica.run())
        # Written by whoever waits for its certificate by now.
        await eventually(lambda: any(key.resource == "leases" for key in fake.store.objects))
        await eventually(lambda: any(call.verb == "replace" and call.path == LEASE for call in fake.calls))
        mine = fake.store.get(LEASE)
        taken = Record(
            holder=rival, epoch=record_of(mine).epoch + bool(rival), renewed="r", acquired="a", transitions=1
        )
        fake.store.put(LEASE, raw_of(mine, taken, Timing()))
        done, _ = await asyncio.wait({running}, timeout=20)
        assert done, "it goes on"
        ended = running.exception()
        assert isinstance(ended, BaseExceptionGroup)
        assert isinstance(ended.exceptions[0], Deposed if rival else LeadLost)
        assert record_of(fake.store.get(LEASE)).holder == rival
