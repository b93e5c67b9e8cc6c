"""What a leader that begins asks of a list and a watch: what there is by now."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from tests.orchestrator.platform.kube.fake_api import Answer
from tests.orchestrator.platform.kube.reflecting import World
from tests.orchestrator.waiting import eventually


async def test_what_is_asked_for_anew_is_the_newest_and_waits_for_no_pause(world: World) -> None:
    """A watch that is away says nothing of what changed meanwhile, and might be taken up in seconds only."""
    world.put("a", "1")
    async with world.reflecting(backoff_s=(60.0, 60.0)) as reflector:
        await eventually(lambda: world.fake.watches)
        with capture_logs() as lines:
            world.fake.cut()
            await eventually(lambda: any(line["event"] == "watch_lost" for line in lines))
            world.put("b", "1")
            await reflector.renew(0.0)
        assert world.mirror.lists == [["a"], ["a", "b"]]
        assert "resourceVersion" not in [call for call in world.fake.calls if call.verb == "list"][-1].query
        await eventually(lambda: world.fake.watches)
        world.put("c", "1")
        await world.agrees()
    assert world.mirror.events == [("ADDED", "c")]


async def test_a_watch_that_goes_on_is_no_proof(world: World) -> None:
    """Its connection may be dead: nothing is heard until somebody notices."""
    world.put("a", "1")
    async with world.reflecting() as reflector:
        await eventually(lambda: world.fake.watches)
        world.fake.mute = True
        world.put("b", "1")
        await reflector.renew(0.0)
        assert world.mirror.lists[-1] == ["a", "b"]
        await reflector.renew(60.0)
        assert len(world.mirror.lists) == 2


async def test_what_may_not_be_listed_any_more_is_not_waited_for(world: World) -> None:
    """Somebody has to mend it; what is known stands until then."""
    world.put("a", "1")
    async with world.reflecting() as reflector:
        await eventually(lambda: world.fake.watches)
        world.fake.meet = lambda _: Answer(403, "may not")
        await reflector.renew(0.0)
        assert world.mirror.lists == [["a"]]
        world.fake.meet = lambda _: Answer(503, "away")
        again = asyncio.create_task(reflector.renew(0.0))
        calls = len(world.fake.calls)
        await eventually(lambda: len(world.fake.calls) > calls + 2)
        assert not again.done()
        world.fake.meet = lambda _: None
        await again
        assert world.mirror.lists == [["a"], ["a"]]
