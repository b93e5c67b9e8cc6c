"""Electors on one Lease of an API server: what the decisions in election.py come to over a network."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.errors import Deposed, LeadLost
from orchestrator.machinery.term import Term
from orchestrator.platform.kube import names
from orchestrator.platform.kube.api import KubeApi, Raw
from orchestrator.platform.kube.election import BLANK, Record, Timing
from orchestrator.platform.kube.lease import Elector, raw_of, record_of
from orchestrator.platform.kube.paths import group
from tests.orchestrator.platform.kube.fake_api import Answer, FakeApi, Lost, Silence, fake_api
from tests.orchestrator.waiting import eventually

LEASE = group("coordination.k8s.io/v1", "leases", "ns", names.ORCHESTRATOR_NAME)
#: Long enough for a busy machine, where nothing has to run out.
PATIENT = Timing(duration_s=30, deadline_s=20, retry_s=0.02, look_s=0.02)
#: Where something has to.
HASTY = Timing(duration_s=1.0, deadline_s=0.6, retry_s=0.05, look_s=0.05)


class World:
    """A server and its electors."""

    def __init__(self, fake: FakeApi, api: KubeApi) -> None:
        self.fake = fake
        self.api = api
        self._tasks: list[asyncio.Task[None]] = []

    def elector(self, pod: str, timing: Timing = PATIENT, wall_ns: int = 1_700_000_000_000_000_000) -> Elector:
        def wall() -> int:
            nonlocal wall_ns
            wall_ns += 1000
            return wall_ns

        return Elector(self.api, "ns", pod, clock=time.monotonic, wall_ns=wall, random=random.random, timing=timing)

    def keeping(self, elector: Elector) -> asyncio.Task[None]:
        self._tasks.append(asyncio.create_task(elector.keep()))
        return self._tasks[-1]

    def record(self) -> Record:
        return record_of(self.fake.store.get(LEASE))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with fake_api() as fake, KubeApi(fake.url) as api:
        world = World(fake, api)
        yield world
        await world.close()


async def ended(term: Term) -> Exception:
    """What the term's runner is told."""
    with pytest.raises((Deposed, LeadLost)) as raised:
        await term.run()
    return raised.value


async def test_the_epoch_is_on_the_lease_before_it_is_used(world: World) -> None:
    """Written in one with the holder, and the next one's is higher, also where the clock went back."""
    first = world.elector("pod-a")
    term = await first.acquire()
    assert term.epoch == 1_700_000_000_000
    record = world.record()
    assert (record.holder, record.epoch, record.transitions) == (first.identity, term.epoch, 0)
    assert record.renewed.endswith("Z")
    assert [call.verb for call in world.fake.calls] == ["get", "create"]
    await first.release()
    second = await world.elector("pod-b", wall_ns=1_000_000_000).acquire()
    assert second.epoch == term.epoch + 1
    assert world.record().transitions == 1


async def test_a_pod_that_starts_again_is_another(world: World) -> None:
    """It has its name again, and none of the other's lead."""
    old, new = world.elector("pod-a"), world.elector("pod-a")
    assert old.identity != new.identity
    await old.acquire()
    standing_by = asyncio.create_task(new.acquire())
    await eventually(lambda: new.holder == old.identity)
    assert not standing_by.done()
    await old.release()
    assert (await standing_by).epoch > 0


async def test_a_leader_renews_and_the_standby_knows_it(world: World) -> None:
    """What others wrote on the Lease stays on it."""
    leader, standby = world.elector("pod-a"), world.elector("pod-b")
    term = await leader.acquire()
    keeping = world.keeping(leader)
    waiting = asyncio.create_task(standby.acquire())
    first = world.record().renewed
    world.fake.store.merge(LEASE, {"metadata": {"labels": {"by": "hand"}}})
    await eventually(lambda: world.record().renewed != first)
    renewed = world.record().renewed
    await eventually(lambda: world.record().renewed != renewed)
    await eventually(lambda: standby.holder == leader.identity)
    assert world.fake.store.get(LEASE)["metadata"]["labels"] == {"by": "hand"}
    assert (world.record().epoch, term.over, keeping.done()) == (term.epoch, False, False)
    assert leader.holder == leader.identity
    waiting.cancel()


async def test_a_renewal_confirms_the_term_and_what_is_refused_does_not(world: World) -> None:
    """Whoever doubts it waits for one that was answered."""
    leader = world.elector("pod-a")
    term = await leader.acquire()
    world.fake.meet = lambda _: Answer(503, "down", "text/plain")
    keeping = world.keeping(leader)
    confirmed = asyncio.create_task(term.confirmed())
    tried = len(world.fake.calls)
    await eventually(lambda: len(world.fake.calls) > tried + 2)
    assert not confirmed.done()
    world.fake.meet = lambda _: None
    await asyncio.wait_for(confirmed, 10)
    assert (keeping.done(), term.over) == (False, False)


async def test_a_leader_that_is_silent_is_followed(world: World) -> None:
    """After the whole duration, on the standby's clock; the old one finds out and ends."""
    old, new = world.elector("pod-a", HASTY), world.elector("pod-b", HASTY)
    first = await old.acquire()
    second = await new.acquire()
    assert second.epoch > first.epoch
    await asyncio.wait_for(old.keep(), 10)
    assert first.over
    assert isinstance(await ended(first), (Deposed, LeadLost))
    await old.release()
    assert world.record().holder == new.identity


async def test_a_term_is_over_when_its_time_is(world: World) -> None:
    """Not only when whoever keeps it comes to say so: a leader that thaws has other work that is ready first."""
    now = 100.0
    elector = Elector(
        world.api, "ns", "pod-a", clock=lambda: now, wall_ns=time.time_ns, random=random.random, timing=PATIENT
    )
    term = await elector.acquire()
    assert not term.over
    now += PATIENT.deadline_s
    assert term.over


async def test_another_holder_ends_the_term(world: World) -> None:
    """Its epoch is told."""
    elector = world.elector("pod-a")
    term = await elector.acquire()
    keeping = world.keeping(elector)
    rival = Record(holder="rival", epoch=term.epoch + 5, renewed="", acquired="", transitions=1)
    world.fake.store.put(LEASE, raw_of(world.fake.store.get(LEASE), rival, PATIENT))
    await keeping
    assert term.successor == term.epoch + 5
    assert str(await ended(term)).startswith("another leads")
    assert elector.holder == "rival"


async def test_a_lease_that_is_deleted_ends_the_term(world: World) -> None:
    """Others may lead already; this one may not make it anew under their feet."""
    elector = world.elector("pod-a")
    term = await elector.acquire()
    keeping = world.keeping(elector)
    world.fake.store.delete(LEASE)
    await keeping
    assert str(await ended(term)) == f"the lead of epoch {term.epoch} is lost: the lease is held by nobody"


@pytest.mark.parametrize(
    "fault", [Answer(503, "down", "text/plain"), Answer(403, "no", "text/plain"), Silence(), Lost(done=False)], ids=str
)
async def test_a_lead_that_is_not_confirmed_ends(world: World, fault: Answer | Silence | Lost) -> None:
    """By its own clock, whatever the server does or does not."""
    elector = world.elector("pod-a", HASTY)
    term = await elector.acquire()
    world.fake.meet = lambda _: fault
    with capture_logs() as lines:
        await asyncio.wait_for(elector.keep(), 10)
    assert isinstance(await ended(term), LeadLost)
    assert [line["event"] for line in lines].count("lease_trouble") >= 1


@pytest.mark.parametrize("fault", [Lost(), Lost(after=20), Answer(503, "down", "text/plain")], ids=str)
async def test_a_renewal_without_an_answer_is_no_loss(world: World, fault: Answer | Lost) -> None:
    """It looks what became of it, and goes on."""
    elector = world.elector("pod-a")
    term = await elector.acquire()
    for _ in range(3):
        world.fake.once(fault, "replace")
    keeping = world.keeping(elector)
    await eventually(lambda: world.fake.verbs().count("replace") > 5)
    assert (keeping.done(), term.over, world.record().epoch) == (False, False, term.epoch)


@pytest.mark.parametrize("verb", ["create", "replace"])
async def test_an_acquisition_without_an_answer_is_made_again(world: World, verb: str) -> None:
    """With another epoch: the first was never led with."""
    if verb == "replace":
        world.fake.store.put(LEASE, {})
    world.fake.once(Lost(), verb)
    term = await world.elector("pod-a").acquire()
    assert (term.epoch, world.record().epoch) == (1_700_000_000_001, term.epoch)


async def test_of_many_candidates_one_leads(world: World) -> None:
    """The server's compare-and-swap decides; the others go on standing by."""
    electors = [world.elector(f"pod-{n}") for n in range(6)]
    waiting = [asyncio.create_task(elector.acquire()) for elector in electors]
    await eventually(lambda: all(elector.holder for elector in electors))
    assert sum(task.done() for task in waiting) == 1
    assert {elector.holder for elector in electors} == {world.record().holder}
    for task in waiting:
        task.cancel()


async def test_a_standby_that_is_cancelled_leaves_nothing_held(world: World) -> None:
    """Its write may just have been done: the answer that it did not wait for would cost the next one the duration."""
    elector = world.elector("pod-a")
    world.fake.once(Silence(done=True), "create")
    acquiring = asyncio.create_task(elector.acquire())
    await eventually(lambda: world.fake.store.objects)
    assert world.record().holder == elector.identity
    acquiring.cancel()
    await asyncio.gather(acquiring, return_exceptions=True)
    await elector.release()
    assert world.record().holder == ""


async def test_what_was_heard_of_a_successor_is_kept(world: World) -> None:
    """The record had been lost and the clock is behind: the next term begins above what adapters refused."""
    elector = world.elector("pod-a")
    term = await elector.acquire()
    term.hear(term.epoch + 100, "pod")
    await elector.release()
    assert (await world.elector("pod-b").acquire()).epoch == term.epoch + 101


async def test_a_server_that_is_away_is_waited_for(world: World) -> None:
    """One line says what is wrong, not one a second."""
    world.fake.meet = lambda _: Answer(403, {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"})
    with capture_logs() as lines:
        acquiring = asyncio.create_task(world.elector("pod-a").acquire())
        await eventually(lambda: len(world.fake.calls) > 4)
        world.fake.meet = lambda _: None
        await acquiring
    assert [line["problem"] for line in lines if line["event"] == "lease_trouble"] == ["403 Forbidden: no"]


def test_a_record_is_read_as_it_was_written() -> None:
    """And what is not written as anybody would is blank."""
    record = Record(holder="a", epoch=7, renewed="r", acquired="q", transitions=3)
    raw = raw_of({"metadata": {"name": "x", "annotations": {"by": "hand"}}, "spec": {"strategy": "?"}}, record, PATIENT)
    assert record_of(raw) == record
    assert raw["metadata"] == {"name": "x", "annotations": {"by": "hand", names.ANNOTATION_EPOCH: "7"}}
    assert raw["spec"]["strategy"] == "?"
    odds: list[Raw] = [{"metadata": {"annotations": {names.ANNOTATION_EPOCH: odd}}} for odd in ("-3", "9" * 5000)]
    for odd in ({}, {"spec": None}, *odds):
        assert record_of(odd) == BLANK


async def test_an_epoch_that_is_none_is_said_and_led_over(world: World) -> None:
    """Somebody's mistake on the Lease keeps nobody from leading."""
    world.fake.store.put(LEASE, {"metadata": {"annotations": {names.ANNOTATION_EPOCH: "9" * 5000}}})
    with capture_logs() as lines:
        term = await world.elector("pod-a").acquire()
    assert term.epoch == world.record().epoch == 1_700_000_000_000
    assert [line["length"] for line in lines if line["event"] == "lease_epoch_unreadable"] == [5000]
