"""List and watch, with an API server that does what servers do on a bad day."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchestrator.platform.kube.answers import UNREADABLE
from orchestrator.platform.kube.paths import core
from tests.orchestrator.platform.kube.fake_api import Answer, Lost, Silence
from tests.orchestrator.platform.kube.reflecting import DEAD_S, World
from tests.orchestrator.waiting import eventually


async def test_what_cannot_be_read_is_delivered_as_that_and_hides_no_other(world: World) -> None:
    """In a list and in an event; told once a version, by type and place only."""

    def read(raw: dict[str, Any]) -> None:
        if raw["data"]["x"] == "odd":
            raise TypeError("the secret is in here")

    world.put("a", "1", app="x")
    world.put("odd", "odd", app="x")
    with capture_logs() as lines:
        async with world.reflecting(read=read) as reflector:
            await reflector.synced.wait()
            await eventually(lambda: world.fake.watches)
            world.put("a", "odd", app="y")
            world.put("b", "2")
            await eventually(lambda: "b" in world.mirror.objects)
    odd = [name for name, raw in world.mirror.objects.items() if UNREADABLE in raw]
    assert (odd, world.mirror.lists) == (["a", "odd"], [["a", "odd"]])
    assert world.mirror.objects["a"]["metadata"]["labels"] == {"app": "y"}
    told = [line for line in lines if line["event"] == "object_unreadable"]
    assert [(line["kind"], line["name"]) for line in told] == [("ConfigMap", "odd"), ("ConfigMap", "a")]
    assert all(line["problem"].startswith("internal error of the orchestrator (TypeError in read:") for line in told)


async def test_a_list_and_then_its_changes(world: World) -> None:
    """The first list asks for the newest state; the watch goes on from the list's version; both are selected."""
    world.put("a", "1", app="x")
    world.put("b", "1")
    async with world.reflecting(label_selector="app=x") as reflector:
        await reflector.synced.wait()
        assert world.mirror.lists == [["a"]]
        version = str(world.fake.store.version)
        await eventually(lambda: world.fake.watches)
        world.put("a", "2", app="x")
        world.put("b", "1", app="x")
        world.put("a", "2")
        await eventually(lambda: len(world.mirror.events) == 3)
    assert world.mirror.events == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    listed, watched = world.fake.calls
    assert "resourceVersion" not in listed.query
    assert watched.query["resourceVersion"] == version
    assert watched.query["allowWatchBookmarks"] == "true"
    assert 300 <= int(watched.query["timeoutSeconds"]) <= 600


async def test_a_watch_that_breaks_goes_on_from_the_last_version(world: World) -> None:
    """No list, nothing twice, nothing missed; and two lines say how long nothing was seen."""
    world.put("a", "1")
    async with world.reflecting():
        await eventually(lambda: world.fake.watches)
        world.put("a", "2")
        await eventually(lambda: world.mirror.events)
        with capture_logs() as lines:
            world.fake.once(Answer(503, "no healthy upstream", "text/plain"), "watch")
            world.fake.cut()
            world.put("b", "1")
            world.delete("a")
            await world.agrees()
    assert world.mirror.events == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert world.fake.verbs().count("list") == 1
    assert [line["event"] for line in lines] == ["watch_lost", "watch_restored"]


async def test_a_bookmark_moves_the_version_on(world: World) -> None:
    """Otherwise a quiet kind's version would be compacted away under it: it is taken for its version only."""
    world.put("a", "1")
    async with world.reflecting():
        await eventually(lambda: world.fake.watches)
        world.fake.store.put(core("secrets", "ns", "other"), {})
        wanted = str(world.fake.store.version)
        # The watch after a cut that came before the bookmark goes on from where that one began.
        async with asyncio.timeout(10):
            while world.fake.calls[-1].query["resourceVersion"] != wanted:
                await asyncio.sleep(2 * world.fake.bookmark_s)
                await world.cut()
    assert world.fake.verbs().count("list") == 1
    assert world.mirror.events == []


@pytest.mark.parametrize("as_event", [True, False])
async def test_a_version_that_is_gone_means_a_list(world: World, as_event: bool) -> None:
    """
    Told by a status or by an event: what vanished meanwhile is missing in the list, which is as new as what was seen.

    A line says so, also where the watch had been lost before for another reason.
    """
    world.fake.gone_as_event = as_event
    world.put("a", "1")
    world.put("b", "1")
    with capture_logs() as lines:
        async with world.reflecting():
            await eventually(lambda: world.fake.watches)
            seen = str(world.fake.store.version)
            world.fake.mute = True
            world.delete("a")
            world.put("c", "1")
            world.fake.store.compact()
            world.fake.once(Answer(503, "no healthy upstream", "text/plain"), "watch")
            world.fake.cut()
            world.fake.mute = False
            await world.agrees()
            await eventually(lambda: world.fake.watches)
    assert world.mirror.lists == [["a", "b"], ["b", "c"]]
    again = [call for call in world.fake.calls if call.verb == "list"][1]
    assert (again.query["resourceVersion"], again.query["resourceVersionMatch"]) == (seen, "NotOlderThan")
    (said,) = (line for line in lines if line["event"] == "watch_listed_again")
    assert said["problem"].startswith("410 ")


async def test_a_version_that_went_while_the_server_was_away_costs_no_other_pause(world: World) -> None:
    """The pauses have grown by then; a server that answers is not waited for again."""
    world.put("a", "1")
    drawn = 0

    def draw() -> float:
        nonlocal drawn
        drawn += 1
        return 0.0

    async with world.reflecting(random=draw):
        await eventually(lambda: world.fake.watches)
        world.fake.mute = True
        world.put("b", "1")
        world.fake.store.compact()
        world.fake.cut()
        world.fake.mute = False
        await world.agrees()
        await eventually(lambda: world.fake.watches)
    watches = world.fake.verbs().count("watch")
    assert watches == 3
    # One is drawn for the length of each watch, and one for each pause. The one pause is before the watch that learns of it.
    assert drawn == watches + 1


async def test_a_list_whose_version_is_gone_at_once_is_not_asked_for_without_pause(world: World) -> None:
    """Such a server would be asked as fast as it answers."""
    expired = Answer(410, {"kind": "Status", "code": 410, "reason": "Expired"})
    world.fake.meet = lambda call: expired if call.verb == "watch" else None
    async with world.reflecting(backoff_s=(60.0, 60.0)):
        await eventually(lambda: world.fake.verbs() == ["list", "watch"])
        await asyncio.sleep(0.1)
        assert world.fake.verbs() == ["list", "watch"]


async def test_a_version_of_the_future_is_forgotten(world: World) -> None:
    """A server that came back from a backup is listed as it is now."""
    world.put("a", "1")
    async with world.reflecting():
        await eventually(lambda: world.fake.watches)
        world.fake.store.version = 50
        world.put("b", "1")
        world.fake.once(Answer(410, {"kind": "Status", "code": 410, "reason": "Expired"}), "watch")
        world.fake.cut()
        await world.agrees()
    assert world.mirror.lists == [["a"], ["a", "b"]]


@pytest.mark.parametrize(
    "fault",
    [
        Answer(503, "no healthy upstream", "text/plain"),
        Answer(429, {"kind": "Status", "code": 429}, headers={"Retry-After": "0.1"}),
        Answer(200, {"kind": "ConfigMapList", "metadata": {"resourceVersion": "0"}, "items": []}),
        Answer(200, {"kind": "ConfigMapList", "metadata": {}, "items": []}),
        Answer(200, {"kind": "Status", "metadata": {"resourceVersion": "7"}}),
        Answer(200, "<html>", "text/html"),
        Lost(after=30),
        Lost(),
        Silence(),
    ],
    ids=str,
)
async def test_a_list_that_fails_delivers_nothing(world: World, fault: Answer | Lost | Silence) -> None:
    """Above all not that there is nothing; the next one is delivered."""
    world.put("a", "1")
    world.fake.once(fault, "list")
    async with world.reflecting() as reflector:
        await reflector.synced.wait()
    assert world.mirror.lists == [["a"]]
    assert world.fake.verbs().count("list") == 2


async def test_a_list_that_fails_later_keeps_what_was_known(world: World) -> None:
    """Each try asks anew; and the pauses between them grow rather than end."""
    world.put("a", "1")
    async with world.reflecting():
        await eventually(lambda: world.fake.watches)
        world.fake.meet = lambda call: Answer(500, "x", "text/plain") if call.verb == "list" else None
        await world.fake.say(b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}}\n')
        await eventually(lambda: world.fake.verbs().count("list") > 3)
        assert world.mirror.lists == [["a"]]
        world.delete("a")
        world.fake.meet = lambda _: None
        await world.agrees()
    assert world.mirror.lists == [["a"], []]


async def test_silence_is_an_end(world: World) -> None:
    """A connection that somebody dropped without a word is given up; bookmarks keep a good one."""
    world.put("a", "1")
    async with world.reflecting():
        await eventually(lambda: world.fake.watches)
        await asyncio.sleep(1.2 * DEAD_S)
        assert world.fake.verbs().count("watch") == 1
        world.fake.mute = True
        world.put("a", "2")
        await eventually(lambda: world.fake.verbs().count("watch") > 1)
        world.fake.mute = False
        await world.agrees()
    assert world.fake.verbs().count("list") == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ADDED","object":{"kind":"ConfigMap","metadata":{}}}\n',
        b'{"type":"FANCY","object":{"metadata":{"name":"a"}}}\n',
        b'{"type":"BOOKMARK","object":{}}\n',
        b'{"type":"ADDED"}\n',
        b'"no healthy upstream"\n',
        b"no healthy upstream\n",
        b"\n\n",
    ],
)
async def test_what_is_no_object_is_no_event(world: World, line: bytes) -> None:
    """It is left out, or the watch is begun anew; either way the next event is delivered once."""
    world.put("a", "1")
    async with world.reflecting():
        await eventually(lambda: world.fake.watches)
        await world.fake.say(line)
        world.put("b", "1")
        await world.agrees()
    assert world.mirror.events == [("ADDED", "b")]


async def test_a_right_that_is_missing_is_asked_for_again(world: World) -> None:
    """A Role that comes after the pod is no reason to start it again."""
    world.put("a", "1")
    forbidden = Answer(403, {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "may not list"})
    world.fake.meet = lambda _: forbidden
    told: list[str] = []
    with capture_logs() as lines:
        async with world.reflecting(on_refused=told.append) as reflector:
            await eventually(lambda: len(world.fake.calls) > 2)
            assert not reflector.synced.is_set()
            assert told == ["may not list"]
            world.fake.meet = lambda _: None
            await reflector.synced.wait()
            await eventually(lambda: told == ["may not list", ""])
    assert [line["problem"] for line in lines if line["event"] == "watch_lost"] == ["403 Forbidden: may not list"]
    assert [line["problem"] for line in lines if line["event"] == "watch_refused"] == ["may not list"]


async def test_a_right_that_is_taken_away_while_the_server_was_away_is_told(world: World) -> None:
    """And what passes is not: nobody has to mend it."""
    told: list[str] = []
    async with world.reflecting(on_refused=told.append) as reflector:
        await reflector.synced.wait()
        world.fake.meet = lambda _: Answer(503, "away")
        world.fake.cut()
        await eventually(lambda: len(world.fake.calls) > 4)
        assert told == []
        world.fake.meet = lambda _: Answer(403, "may not")
        await eventually(lambda: told)


async def test_cancelling_ends_the_connection(world: World) -> None:
    """Nothing of it is left on the server."""
    async with world.reflecting():
        await eventually(lambda: world.fake.watches)
    await eventually(lambda: not world.fake.watches)


async def test_whatever_breaks_the_mirror_ends_as_the_store(world: World) -> None:
    """Writes at random while watches are cut, histories compacted and answers lost."""
    dice = random.Random(7)
    async with world.reflecting() as reflector:
        await reflector.synced.wait()
        for step in range(120):
            name = f"m{dice.randrange(8)}"
            if name in world.stored() and dice.random() < 0.4:
                world.delete(name)
            else:
                world.put(name, str(step))
            match dice.randrange(12):
                case 0:
                    world.fake.cut()
                case 1:
                    world.fake.store.compact()
                case 2:
                    world.fake.once(Lost(after=10), "list")
                case 3:
                    world.fake.once(Answer(500, "x", "text/plain"), "watch")
                case 4:
                    world.fake.gone_as_event = not world.fake.gone_as_event
                case _:
                    await asyncio.sleep(dice.random() * 0.02)
        await world.agrees()
