"""Events: counted, bounded, and never in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from structlog.testing import capture_logs

from orchestrator.platform.kube import events as events_module
from orchestrator.platform.kube.answers import Raw
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.events import BURST, MESSAGE_LIMIT, REFILL_S, EventRecorder, Rate, Reference
from orchestrator.platform.kube.paths import core
from tests.orchestrator.platform.kube.fake_api import Answer, Call, FakeApi, fake_api
from tests.orchestrator.platform.kube.support import NAMESPACE, make_recorder
from tests.orchestrator.waiting import eventually

EVENTS = core("events", NAMESPACE)
RUNTIME = Reference(api_version="serving.kserve.io/v1alpha1", kind="ServingRuntime", name="r", uid="u")


@dataclass
class Bench:
    fake: FakeApi
    api: KubeApi
    recorder: EventRecorder = field(init=False)
    seconds: Iterator[int] = field(default_factory=count)

    def stamp(self) -> str:
        return f"2026-01-01T00:00:{next(self.seconds):02}Z"

    def say(self, reason: str = "Loaded", message: str = "m", *, name: str = "a") -> None:
        self.recorder.event(name, f"uid-{name}", warning=False, reason=reason, message=message)

    @property
    def stored(self) -> list[Raw]:
        items: list[Raw] = self.fake.store.collection(EVENTS, {})["items"]
        return items

    def counts(self) -> dict[str, int]:
        return {raw["reason"]: raw["count"] for raw in self.stored}


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with fake_api() as fake, KubeApi(fake.url, timeout_s=5.0) as api:
        bench = Bench(fake, api)
        suffixes = count()
        bench.recorder = make_recorder(
            api, timestamp=bench.stamp, new_suffix=lambda: f"s{next(suffixes)}", clock=lambda: 0.0, random=lambda: 0.0
        )
        yield bench


@pytest.fixture
async def running(bench: Bench) -> AsyncIterator[Bench]:
    task = asyncio.create_task(bench.recorder.run())
    yield bench
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_whoever_leads_no_more_writes_no_event(bench: Bench) -> None:
    """What waited while it was frozen is about a time that is over."""
    leads = True
    bench.recorder = make_recorder(bench.api, leads=lambda: leads)
    bench.fake.once(Answer(503, "down", "text/plain"), "create")
    task = asyncio.create_task(bench.recorder.run())
    bench.say()
    await eventually(lambda: bench.fake.calls)
    leads = False
    bench.say("Loading")
    with capture_logs() as lines:
        await eventually(lambda: any(line["event"] == "event_lost" for line in lines))
    task.cancel()
    await asyncio.wait({task})
    assert bench.stored == []


async def test_an_event_is_what_describe_shows(running: Bench) -> None:
    """About the object, by name and uid; also of other kinds than models."""
    running.say("Loaded", "served by r")
    running.recorder.about(RUNTIME, warning=True, reason="InvalidManifest", message="spec: wrong")
    await eventually(lambda: len(running.stored) == 2)
    first, second = running.stored
    assert first["involvedObject"] == {
        "apiVersion": "serving.kubeflow.org/v1alpha1",
        "kind": "TrainedModel",
        "name": "a",
        "namespace": NAMESPACE,
        "uid": "uid-a",
    }
    assert (first["type"], first["reason"], first["message"], first["count"]) == ("Normal", "Loaded", "served by r", 1)
    assert first["firstTimestamp"].startswith("2026-01-01T00:00:")
    assert (second["type"], second["involvedObject"]["kind"]) == ("Warning", "ServingRuntime")
    assert [each["reason"] for each in running.recorder.list("a")] == ["Loaded"]
    assert running.recorder.list("r") == []


async def test_one_that_comes_again_is_counted(running: Bench) -> None:
    """In the same object; the first time stays, the last one moves. Another message is another event."""
    running.say()
    await eventually(lambda: running.counts() == {"Loaded": 1})
    first = running.stored[0]
    for _ in range(3):
        running.say()
    await eventually(lambda: running.counts() == {"Loaded": 4})
    (again,) = running.stored
    assert again["firstTimestamp"] == first["firstTimestamp"]
    assert again["lastTimestamp"] > first["lastTimestamp"]
    running.say(message="other")
    await eventually(lambda: len(running.stored) == 2)


async def test_one_that_the_server_has_dropped_is_made_again(running: Bench) -> None:
    """It keeps them for an hour; the count goes on."""
    running.say()
    await eventually(lambda: running.counts() == {"Loaded": 1})
    running.fake.store.delete(f"{EVENTS}/{running.stored[0]['metadata']['name']}")
    running.say()
    await eventually(lambda: running.counts() == {"Loaded": 2})


async def test_what_waits_is_one_write(bench: Bench) -> None:
    """A hundred times the same, before the server took the first."""
    for _ in range(100):
        bench.say()
    task = asyncio.create_task(bench.recorder.run())
    await eventually(lambda: bench.counts() == {"Loaded": 100})
    task.cancel()
    await asyncio.wait({task})
    assert bench.fake.verbs() == ["create"]


async def test_a_server_that_is_away_stops_nobody(running: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits into the queue comes later, the rest is lost; that is one line each."""
    monkeypatch.setattr(events_module, "QUEUE", 5)
    away = True

    def meet(_: Call) -> Answer | None:
        return Answer(503, "away") if away else None

    running.fake.meet = meet
    with capture_logs() as lines:
        for number in range(8):
            running.say(name=f"m{number}")
        await eventually(lambda: running.fake.calls)
        away = False
        await eventually(lambda: len(running.stored) == 5)
        running.say(name="later")
        await eventually(lambda: len(running.stored) == 6)
    assert [line["event"] for line in lines] == ["event_lost", "events_wait", "events_were_lost"]
    assert lines[-1]["count"] == 3
    assert len(running.recorder.list("m7")) == 1


async def test_one_that_is_refused_is_lost(running: Bench) -> None:
    """A namespace that ends, say; those behind it come."""
    running.fake.once(Answer(403, "no"), "create")
    running.say("A")
    running.say("B")
    await eventually(lambda: running.counts() == {"B": 1})


async def test_who_says_too_much_is_cut_short(running: Bench) -> None:
    """About one object; others are heard."""
    for number in range(BURST + 10):
        running.say(f"R{number:02}")
    running.say("Other", name="b")
    await eventually(lambda: "Other" in running.counts())
    assert len(running.counts()) == BURST + 1


async def test_a_long_message_is_cut(running: Bench) -> None:
    """To what the server takes, in bytes."""
    running.say(message="ä" * MESSAGE_LIMIT)
    running.say(name="x" * 253)
    await eventually(lambda: len(running.stored) == 2)
    first, second = running.stored
    assert len(first["message"].encode()) == MESSAGE_LIMIT
    assert len(second["metadata"]["name"]) <= 253


async def test_memory_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of events that are counted on."""
    monkeypatch.setattr(events_module, "MEMORY", 3)
    for number in range(10):
        bench.say(name=f"m{number}")
    assert len(bench.recorder._known) == 3


def test_the_rate_fills_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in so many seconds, and no more than the burst; keys apart; the oldest forgotten."""
    now = 0.0
    rate = Rate(lambda: now)
    assert [rate.take("a") for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert rate.take("b")
    now = REFILL_S - 1
    assert not rate.take("a")
    now = REFILL_S + 1
    assert [rate.take("a") for _ in range(2)] == [True, False]
    now = 1e9
    assert sum(rate.take("a") for _ in range(2 * BURST)) == BURST
    monkeypatch.setattr(events_module, "MEMORY", 2)
    for key in range(5):
        rate.take(key)
    assert len(rate._buckets) <= 4
