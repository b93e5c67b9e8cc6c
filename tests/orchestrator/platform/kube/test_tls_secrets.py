"""The Secrets of mutual TLS, kept through an API server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from structlog.testing import capture_logs

from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.names import CA_SECRET, TLS_SECRETS
from orchestrator.platform.kube.paths import core
from orchestrator.platform.kube.tls_plan import Data, identity
from orchestrator.platform.kube.tls_secrets import TlsSecrets, data
from orchestrator.transport.identity import ADAPTER, ORCHESTRATOR
from tests.orchestrator.platform.kube.fake_api import Answer, Call, FakeApi, Lost, fake_api
from tests.orchestrator.waiting import eventually

NS = "ns"
ALL = (CA_SECRET, *TLS_SECRETS.values())


class Bench:
    """An API server, a clock, and replicas."""

    def __init__(self, fake: FakeApi, api: KubeApi) -> None:
        self.fake = fake
        self.api = api
        self.now = datetime(2031, 5, 6, tzinfo=UTC)
        #: Of each role: in how many days from now its certificate ends, when it was last told.
        self.days: dict[str, int] = {}

    def replica(self, *, leads: bool = False, role: str = ORCHESTRATOR, seed: int = 1) -> TlsSecrets:
        return TlsSecrets(
            self.api,
            NS,
            role,
            leads=lambda: leads,
            now=lambda: self.now,
            entropy=random.Random(seed).randbytes,
            check_s=0.02,
            on_expiry=self._expires,
        )

    def _expires(self, role: str, unix_s: float) -> None:
        self.days[role] = round((unix_s - self.now.timestamp()) / 86400)

    def path(self, name: str) -> str:
        return core("secrets", NS, name)

    def held(self, name: str) -> Data:
        return data(self.fake.store.get(self.path(name)))

    def all(self) -> dict[str, Data]:
        return {name: self.held(name) for name in ALL}

    def writes(self) -> int:
        return sum(call.verb in ("create", "replace") for call in self.fake.calls)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with fake_api() as fake, KubeApi(fake.url) as api:
        yield Bench(fake, api)


async def test_who_comes_first_makes_all_and_who_comes_later_reads(bench: Bench) -> None:
    """Whoever leads: a first start waits for no leader. The second writes nothing."""
    first, second = bench.replica(seed=1), bench.replica(seed=2)
    await first.begin()
    assert bench.writes() == 4
    await second.begin()
    assert bench.writes() == 4
    assert first.current() == second.current()
    secret = bench.fake.store.get(bench.path(CA_SECRET))
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "wml-serving"


@pytest.mark.parametrize("count", [2, 5])
async def test_replicas_that_begin_at_once_end_with_one_authority(bench: Bench, count: int) -> None:
    """The losers read what the winner made."""
    replicas = [bench.replica(leads=True, seed=seed) for seed in range(count)]
    await asyncio.gather(*(replica.begin() for replica in replicas))
    for role, name in TLS_SECRETS.items():
        assert identity(bench.held(name), role, bench.now), name
        assert bench.held(name)["ca.crt"] == bench.held(CA_SECRET)["ca.crt"]
    # A loser may have become what was written over a moment later; the next check tells it.
    for replica in replicas:
        await replica.check()
    assert {replica.current().certificate for replica in replicas} == {bench.held(TLS_SECRETS[ORCHESTRATOR])["tls.crt"]}


async def test_it_is_told_until_when_certificates_are_good(bench: Bench) -> None:
    """As they are stored: a standby sees them come to their end, and that they were renewed."""
    leader, standby = bench.replica(leads=True), bench.replica(leads=False)
    await leader.begin()
    leaves = {"orchestrator": 90, "mesh": 90, "adapter": 90}
    assert bench.days == {"ca": 3650, **leaves}
    bench.now += timedelta(days=61)
    await standby.check()
    assert bench.days == {"ca": 3589, **dict.fromkeys(leaves, 29)}
    await leader.check()
    await standby.check()
    assert bench.days == {"ca": 3589, **leaves}


async def test_the_leader_renews_and_the_others_follow(bench: Bench) -> None:
    """A standby alone leaves what is due as it is; who waits for a change is told."""
    leader, standby = bench.replica(leads=True), bench.replica(leads=False)
    await leader.begin()
    await standby.begin()
    before = standby.current()
    following = asyncio.create_task(standby.run())
    told = asyncio.create_task(standby.changed(before))
    bench.now += timedelta(days=61)
    calls = len(bench.fake.calls)
    await eventually(lambda: len(bench.fake.calls) > calls + 12)
    assert (bench.writes(), standby.current()) == (4, before)
    leading = asyncio.create_task(leader.run())
    await told
    assert standby.current() != before
    await eventually(lambda: leader.current() == standby.current())
    assert bench.writes() == 7
    for task in (following, leading):
        task.cancel()
    await asyncio.wait({following, leading})


async def test_a_secret_that_is_deleted_or_spoilt_is_mended(bench: Bench) -> None:
    """By the leader at its next check; what else is in the Secret stays."""
    leader = bench.replica(leads=True)
    await leader.begin()
    running = asyncio.create_task(leader.run())
    adapter = bench.path(TLS_SECRETS[ADAPTER])
    await bench.api.delete(adapter)
    await eventually(lambda: bench.writes() == 5)
    spoilt = bench.fake.store.get(adapter)
    await bench.api.replace(adapter, {**spoilt, "data": {"tls.crt": "%%%", "note": "bWluZQ=="}})
    await eventually(lambda: bench.held(TLS_SECRETS[ADAPTER]).get("ca.crt"))
    assert identity(bench.held(TLS_SECRETS[ADAPTER]), ADAPTER, bench.now)
    assert bench.held(TLS_SECRETS[ADAPTER])["note"] == b"mine"
    running.cancel()
    await asyncio.wait({running})


async def test_an_api_server_that_fails_is_asked_again(bench: Bench) -> None:
    """Also where the write was done and its answer lost."""
    for fault in (Answer(500, "no"), Answer(429, "later"), Lost(done=False)):
        bench.fake.once(fault, "get")
    bench.fake.once(Lost(done=True), "create")
    bench.fake.once(Answer(503, "no"), "create")
    with capture_logs() as logs:
        await bench.replica().begin()
    assert {name: bool(held) for name, held in bench.all().items()} == dict.fromkeys(ALL, True)
    assert "tls_check_failed" in {line["event"] for line in logs}


def _always(answer: Answer | None, _call: Call) -> Answer | None:
    return answer


async def test_the_same_trouble_is_said_ever_less_often(bench: Bench) -> None:
    """After 1, 2, 4 and 8 checks; another is said at once, and that it is over as well."""
    replica = bench.replica()
    await replica.begin()

    async def said(*answers: Answer | None) -> list[str]:
        with capture_logs() as logs:
            for answer in answers:
                bench.fake.meet = partial(_always, answer)
                assert await replica.check() == (answer is None)
        return [f"{line['event']} {line.get('in_a_row', '')}".strip() for line in logs]

    away, full = Answer(503, "away"), Answer(500, "full")
    assert await said(*[away] * 9) == [f"tls_check_failed {n}" for n in (1, 2, 4, 8)]
    assert await said(full, full, full, away) == [f"tls_check_failed {n}" for n in (1, 2, 1)]
    assert await said(None, None) == ["tls_check_restored"]
    assert await said(away) == ["tls_check_failed 1"]


async def test_a_secret_that_may_not_be_written_does_not_keep_the_others_from_it(bench: Bench) -> None:
    """It is said each time, in the server's words and without what was to be written."""
    refused = bench.path(TLS_SECRETS["mesh"])

    leader = bench.replica(leads=True)
    await leader.begin()
    bench.now += timedelta(days=61)
    bench.fake.meet = lambda call: (
        Answer(422, {"kind": "Status", "code": 422, "reason": "Invalid", "message": "field is immutable"})
        if call.verb == "replace" and call.path == refused
        else None
    )
    before = bench.all()
    with capture_logs() as logs:
        assert not await leader.check()
    after = bench.all()
    assert {name for name in ALL if before[name] != after[name]} == {TLS_SECRETS[ORCHESTRATOR], TLS_SECRETS[ADAPTER]}
    (said,) = [line for line in logs if line["event"] == "tls_secret_refused"]
    assert (said["secret"], said["error"]) == (TLS_SECRETS["mesh"], "422 Invalid: field is immutable")


async def test_no_line_of_the_log_has_a_key(bench: Bench) -> None:
    """Nor a part of one."""
    with capture_logs() as logs:
        leader = bench.replica(leads=True)
        await leader.begin()
    key = bench.held(TLS_SECRETS[ORCHESTRATOR])["tls.key"].decode().splitlines()[1]
    assert logs
    assert key not in repr(logs)
    assert key not in repr(leader.current())


async def test_without_a_beginning_there_is_no_identity(bench: Bench) -> None:
    """Rather than an empty one."""
    with pytest.raises(RuntimeError, match="begin"):
        bench.replica().current()
