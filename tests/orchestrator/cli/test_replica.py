"""One replica against an API server; what it does when all is well is seen in a cluster (tests/cluster)."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import CoroutineType

import pytest

from orchestrator.__main__ import _run
from orchestrator.cli.replica import Replica
from orchestrator.domain.errors import Deposed, LeadLost
from orchestrator.machinery.pulse import Pulse
from orchestrator.platform.kube import names
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.counts import KubeCounts
from orchestrator.platform.kube.election import Record, Timing
from orchestrator.platform.kube.lease import raw_of, record_of
from orchestrator.platform.kube.paths import group
from tests.orchestrator.builders import make_raw_model
from tests.orchestrator.controller.bench import SECRET
from tests.orchestrator.platform.kube.fake_api import Answer, Call, FakeApi, Silence, fake_api
from tests.orchestrator.waiting import eventually
from tests.ports import reserved

LEASE = group("coordination.k8s.io/v1", "leases", "ns", names.ORCHESTRATOR_NAME)
MODEL = group("serving.kubeflow.org/v1alpha1", "trainedmodels", "ns", "m")
DEPLOYMENT = group("apps/v1", "deployments", "ns", "wml-serving-mlserver-0.x")
WRITES = frozenset({"create", "replace", "merge", "apply", "delete"})
#: What a leader writes before there is anything to reconcile.
FIRST = ("/leases", "/secrets", "/servingruntimes")
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


def held_up(call: Call) -> Silence | None:
    """What is reconciled has no answer."""
    return Silence() if call.verb in WRITES and not any(kind in call.path for kind in FIRST) else None


def under_way(fake: FakeApi) -> set[str]:
    """Where that is."""
    return {call.path for call in fake.calls if held_up(call)}


def take(fake: FakeApi, rival: str) -> None:
    """The lease is another's from now on, or nobody's."""
    mine = fake.store.get(LEASE)
    taken = Record(holder=rival, epoch=record_of(mine).epoch + bool(rival), renewed="r", acquired="a", transitions=1)
    fake.store.put(LEASE, raw_of(mine, taken, Timing()))


def left_over() -> list[str]:
    """Tasks of the product's code."""
    source = str(Path(inspect.getfile(Replica)).parents[1])
    works = [task.get_coro() for task in asyncio.all_tasks()]
    return [w.__qualname__ for w in works if isinstance(w, CoroutineType) and w.cr_code.co_filename.startswith(source)]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On ports of its own, and in a hurry to renew its lease."""
    monkeypatch.setattr("orchestrator.platform.kube.lease.Timing", lambda: Timing(retry_s=0.02))
    with reserved() as admin, reserved() as control:
        monkeypatch.setattr(names, "ADMIN_PORT", admin)
        monkeypatch.setattr(names, "CONTROL_PORT", control)
        yield


@pytest.mark.usefixtures("own_logs")
def test_a_lease_lost_in_the_middle_of_work_ends_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """With a status and a Deployment under way: nothing is written from then on, no task is left, exit code 1."""

    async def life() -> None:
        async with fake_api() as fake, KubeApi(fake.url) as api:
            fake.meet = held_up
            storage = base64.b64encode(json.dumps(SECRET).encode()).decode()
            fake.store.put(
                "/api/v1/namespaces/ns/secrets/storage-config", {"metadata": {}, "data": {"default": storage}}
            )
            fake.store.put(MODEL, make_raw_model("m") | {"metadata": {"name": "m"}})
            replica = Replica(api, ARGUMENTS, KubeCounts(), Pulse(lambda: 0.0, 60.0))
            running = asyncio.create_task(replica.run())
            try:
                await eventually(lambda: under_way(fake) >= {MODEL + "/status", DEPLOYMENT})
                already = len(fake.calls)
                take(fake, "pod-b")
                done, _ = await asyncio.wait({running}, timeout=5)
                assert done, "it goes on"
            finally:
                running.cancel()
            assert left_over() == ["until_signal"]
            late = [call for call in fake.calls[already:] if call.verb in WRITES and call.path != LEASE]
            assert late == []
            assert record_of(fake.store.get(LEASE)).holder == "pod-b"
            await running

    assert _run("controller", life) == 1
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert last["event"] == "process_failed"
    assert last["problem"].startswith("another leads"), last


@pytest.mark.parametrize("rival", ["pod-b", ""], ids=["another holds it", "it is let go"])
async def test_a_lease_lost_before_there_is_a_certificate_ends_the_process(rival: str) -> None:
    """Who waits for its first one would else neither lead nor stand by, and be healthy."""
    async with fake_api() as fake, KubeApi(fake.url) as api:
        fake.meet = without_certificates
        replica = Replica(api, ARGUMENTS, KubeCounts(), Pulse(lambda: 0.0, 60.0))
        running = asyncio.create_task(replica.run())
        # Written by whoever waits for its certificate by now.
        await eventually(lambda: any(key.resource == "leases" for key in fake.store.objects))
        await eventually(lambda: any(call.verb == "replace" and call.path == LEASE for call in fake.calls))
        take(fake, rival)
        done, _ = await asyncio.wait({running}, timeout=20)
        assert done, "it goes on"
        ended = running.exception()
        assert isinstance(ended, BaseExceptionGroup)
        assert isinstance(ended.exceptions[0], Deposed if rival else LeadLost)
        assert record_of(fake.store.get(LEASE)).holder == rival
