"""Requests and watches: the contract of any API server, and the bad days of one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from orchestrator.platform.kube import api as module
from orchestrator.platform.kube.answers import AnswerTooLarge
from orchestrator.platform.kube.api import ApiError, ApiUnreachable, KubeApi
from orchestrator.platform.kube.paths import core
from tests.orchestrator.platform.kube.api_contract import ApiContract, config, refused
from tests.orchestrator.platform.kube.fake_api import Answer, FakeApi, Lost, Silence
from tests.orchestrator.waiting import eventually

CONFIGS, PATH = core("configmaps", "ns"), core("configmaps", "ns", "a")


@pytest.fixture
def namespace() -> str:
    return "ns"


class TestFake(ApiContract):
    """What the tests' API server does is what a real one does: tests/cluster has the other half."""


REQUESTS: dict[str, Callable[[KubeApi], Awaitable[Any]]] = {
    "get": lambda api: api.get(PATH),
    "list": lambda api: api.list(CONFIGS),
    "create": lambda api: api.create(CONFIGS, config("b")),
    "replace": lambda api: api.replace(PATH, config("a", "2")),
    "merge": lambda api: api.merge(PATH, {"data": {"x": "2"}}),
    "apply": lambda api: api.apply(PATH, config("a", "2")),
    "delete": lambda api: api.delete(PATH),
}


@pytest.mark.parametrize("verb", REQUESTS)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (
            Answer(503, "no healthy upstream\nat all", "text/plain"),
            "503 ServiceUnavailable: no healthy upstream at all",
        ),
        (Answer(502, "<html>secret</html>", "text/html"), "502 Unknown: an answer that is not a Status"),
        (Answer(500, {"kind": "Pod"}), "500 InternalError: an answer that is not a Status"),
        (Answer(302, "", headers={"Location": "/elsewhere"}), "302 Unknown: an answer that is not a Status"),
        (Answer(403, {"kind": "Status", "reason": "Forbidden", "message": "may not"}), "403 Forbidden: may not"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
async def test_an_answer_without_success_is_an_error(
    fake: FakeApi, api: KubeApi, verb: str, fault: Answer, error: str
) -> None:
    """Whatever is in it: a status of HTTP is looked at first, and text that is not for people is not repeated."""
    fake.meet = lambda _: fault
    raised = await refused(REQUESTS[verb](api))
    assert (raised.status, str(raised)) == (fault.status, error)


@pytest.mark.parametrize("verb", [verb for verb in REQUESTS if verb != "delete"])
@pytest.mark.parametrize(
    "fault",
    [
        Lost(done=False),
        Lost(after=5),
        Silence(),
        Answer(200, "<html>", "text/html"),
        Answer(200, '{"kind": "Conf'),
        Answer(200, "[1]"),
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_what_makes_no_sense_is_no_answer(fake: FakeApi, verb: str, fault: Answer | Lost | Silence) -> None:
    """Broken off, silent, or not JSON: nothing is known then, and the next request is none the worse."""
    async with KubeApi(fake.url, timeout_s=0.5) as api:
        fake.store.put(PATH, config("a"))
        fake.meet = lambda _: fault
        with pytest.raises(ApiUnreachable):
            await REQUESTS[verb](api)
        fake.meet = lambda _: None
        assert (await api.get(PATH))["data"]


async def test_nobody_there_is_no_answer() -> None:
    """At once."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        async with KubeApi(f"http://127.0.0.1:{reserved.getsockname()[1]}") as api:
            with pytest.raises(ApiUnreachable, match="Cannot connect"):
                await api.get(PATH)
            with pytest.raises(ApiUnreachable, match="Cannot connect"):
                async with api.watch(CONFIGS):
                    pass


async def test_each_patch_says_what_it_is(fake: FakeApi, api: KubeApi) -> None:
    """What is not said is guessed by servers, and differently for resources of one's own."""
    fake.store.put(PATH, config("a"))
    for request in REQUESTS.values():
        await request(api)
    types = {call.verb: call.headers.get("Content-Type", "") for call in fake.calls}
    assert types["merge"] == "application/merge-patch+json"
    assert types["apply"] == "application/apply-patch+yaml"
    assert {types["create"], types["replace"]} == {"application/json"}
    applied = next(call for call in fake.calls if call.verb == "apply")
    assert applied.query == {"fieldManager": "wml-serving", "force": "true"}
    assert {call.headers["User-Agent"].split("/")[0] for call in fake.calls} == {"wml-serving"}


async def test_each_request_has_the_credentials_of_its_time(fake: FakeApi) -> None:
    """Tokens change; one that cannot be had is no answer."""
    tokens = iter(["Bearer 1", "Bearer 2"])

    async def authorize() -> str:
        token = next(tokens, "")
        if not token:
            raise OSError("no token")
        return token

    fake.store.put(PATH, config("a"))
    async with KubeApi(fake.url, authorize=authorize) as api:
        await api.get(PATH)
        async with api.watch(CONFIGS):
            pass
        assert [call.headers["Authorization"] for call in fake.calls] == ["Bearer 1", "Bearer 2"]
        with pytest.raises(ApiUnreachable, match="no token"):
            await api.get(PATH)
        with pytest.raises(ApiUnreachable, match="no token"):
            async with api.watch(CONFIGS):
                pass


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(
    fake: FakeApi, api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may create objects would else keep every replica from its start; one object alone fits, or it is an error."""
    monkeypatch.setattr(module, "BODY_LIMIT", 3000)
    for n in range(3):
        fake.store.put(core("configmaps", "ns", f"a{n}"), config(f"a{n}", "x" * 1500))
    whole = await api.list(CONFIGS)
    assert [item["metadata"]["name"] for item in whole.items] == ["a0", "a1", "a2"]
    assert [call.query["limit"] for call in fake.calls] == ["500", "25", "1", "1", "1"]
    fake.store.put(core("configmaps", "ns", "a3"), config("a3", "x" * 3000))
    with pytest.raises(AnswerTooLarge):
        await api.list(CONFIGS)


async def test_the_size_of_a_page_that_fits_is_remembered(
    fake: FakeApi, api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For that path, as long as its objects are that large: what does not fit is asked for once, and not with each list."""
    monkeypatch.setattr(module, "BODY_LIMIT", 5000)
    for n in range(3):
        fake.store.put(core("configmaps", "ns", f"a{n}"), config(f"a{n}", "x" * 1500))

    async def limits(path: str) -> list[str]:
        fake.calls.clear()
        await api.list(path)
        return [call.query["limit"] for call in fake.calls]

    assert await limits(CONFIGS) == ["500", "25", "1", "1", "1"]
    assert await limits(CONFIGS) == ["1", "1", "1"]
    assert await limits(core("secrets", "ns")) == ["500"]
    for n in range(3):
        fake.store.put(core("configmaps", "ns", f"a{n}"), config(f"a{n}"))
    # The objects of a list that is asked for like this are seen to be small.
    assert await limits(CONFIGS) == ["1", "1", "1"]
    assert await limits(CONFIGS) == ["25"]
    assert await limits(CONFIGS) == ["500"]


async def test_pages_that_are_too_large_are_no_tries_of_pages_that_expire(
    fake: FakeApi, api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both in one list, of an API server that compacts often and has large objects: each has its own patience."""
    monkeypatch.setattr(module, "BODY_LIMIT", 3000)
    for n in range(3):
        fake.store.put(core("configmaps", "ns", f"a{n}"), config(f"a{n}", "x" * 1500))
    expired = 0

    def compacting(call: Any) -> None:
        nonlocal expired
        if call.query.get("continue") and expired < 2:
            expired += 1
            fake.store.delete(core("configmaps", "ns", "a0"))
            fake.store.put(core("configmaps", "ns", "a0"), config("a0", "x" * 1500))
            fake.store.compact()

    fake.meet = compacting
    whole = await api.list(CONFIGS)
    assert [item["metadata"]["name"] for item in whole.items] == ["a0", "a1", "a2"]
    assert expired == 2


async def test_a_page_that_expires_begins_the_list_again(fake: FakeApi, api: KubeApi) -> None:
    """Never half of one and half of another; and not for ever."""
    for n in range(5):
        fake.store.put(core("configmaps", "ns", f"a{n}"), config(f"a{n}"))
    pages = 0

    def compacting(call: Any) -> None:
        nonlocal pages
        pages += 1
        if pages == 2:
            fake.store.delete(core("configmaps", "ns", "a0"))
            fake.store.compact()

    fake.meet = compacting
    whole = await api.list(CONFIGS, {"limit": "2"})
    assert [item["metadata"]["name"] for item in whole.items] == ["a1", "a2", "a3", "a4"]
    fake.meet = lambda call: fake.store.compact() if call.query.get("continue") else None
    with pytest.raises(ApiUnreachable, match="expires before it ends"):
        await api.list(CONFIGS, {"limit": "2"})


async def test_an_answer_without_an_end_is_cut(fake: FakeApi, api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, of answers and of a watch's lines."""
    monkeypatch.setattr(module, "BODY_LIMIT", 1000)
    monkeypatch.setattr(module, "LINE_LIMIT", 1000)
    fake.store.put(PATH, config("a", "x" * 1000))
    with pytest.raises(ApiUnreachable, match="more than 1000 bytes"):
        await api.get(PATH)
    async with api.watch(CONFIGS) as events:
        with pytest.raises(ApiUnreachable, match="more than 1000 bytes"):
            await anext(events)


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Answer(410, {"kind": "Status", "reason": "Expired"}), ApiError), (Silence(), ApiUnreachable), (Lost(), None)],
)
async def test_a_watch_that_is_refused_is_none(fake: FakeApi, fault: Answer | Silence | Lost, error: Any) -> None:
    """It is known when the context is entered, and within the time of any request."""
    async with KubeApi(fake.url, timeout_s=0.3) as api:
        fake.once(fault, "watch")
        if error is None:
            async with api.watch(CONFIGS):
                assert fake.watches == 1
        else:
            with pytest.raises(error):
                async with api.watch(CONFIGS):
                    pass


async def test_a_watch_that_breaks_says_so(fake: FakeApi) -> None:
    """Cut off, within an event or between, silent, or nonsense."""
    async with KubeApi(fake.url, silence_s=0.5) as api:
        for say, cut in ((b"", True), (b'{"type":', True), (b"nonsense\n", False), (b"", False)):
            async with api.watch(CONFIGS) as events:
                await eventually(lambda: fake.watches)
                await fake.say(say)
                if cut:
                    fake.cut()
                with pytest.raises(ApiUnreachable):
                    await anext(events)
            await eventually(lambda: not fake.watches)


async def test_leaving_a_watch_ends_its_connection(fake: FakeApi, api: KubeApi) -> None:
    """By the end of the block, by an error in it, which stays what it is, or by cancellation."""
    async with api.watch(CONFIGS):
        await eventually(lambda: fake.watches)
    await eventually(lambda: not fake.watches)
    with pytest.raises(TimeoutError):
        async with api.watch(CONFIGS):
            raise TimeoutError
    await eventually(lambda: not fake.watches)

    async def follow() -> None:
        async with api.watch(CONFIGS) as events:
            await anext(events)

    task = asyncio.create_task(follow())
    await eventually(lambda: fake.watches)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    await eventually(lambda: not fake.watches)


async def test_a_request_that_is_cancelled_ends_its_connection(fake: FakeApi, api: KubeApi) -> None:
    """An answer that comes later is not taken for the next one's."""
    held = asyncio.Event()
    fake.store.put(PATH, config("a"))
    fake.once(Silence(held), "get")
    task = asyncio.create_task(api.get(core("configmaps", "ns", "late")))
    await eventually(lambda: fake.calls)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    held.set()
    assert (await api.get(PATH))["metadata"]["name"] == "a"
