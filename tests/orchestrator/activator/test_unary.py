"""Unary requests through a real activator: held, forwarded, answered, refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from orchestrator.domain.demand import Want
from tests.orchestrator.activator.conftest import Stack, Stacks
from tests.orchestrator.activator.fakes import (
    SERVICE,
    WORDS_S,
    FakeRuntime,
    failed,
    failing,
    message,
    ready,
    standby,
    waiting,
)
from tests.orchestrator.waiting import eventually

Context = grpc.aio.ServicerContext[bytes, bytes]


async def ended(call: grpc.aio.Call) -> tuple[grpc.StatusCode, str]:
    """How a call ended."""
    return await call.code(), await call.details()


async def test_a_request_is_held_until_its_model_is_ready(stack: Stack) -> None:
    """Waiting goes on through Waiting and Standby; Ready forwards."""
    call = stack.infer("m", message("m", b"x"))
    await stack.wants("m")
    assert stack.leader.wanted["m"] == Want(load=True)
    stack.leader.say(standby("m"))
    stack.leader.say(waiting("m", "loading"))
    stack.leader.say(ready("m", stack.runtime.endpoint))
    assert await call == message("m", b"x")


async def test_a_hundred_waiters_are_one_want(stack: Stack) -> None:
    """The leader hears of a model once, whatever the number of requests; one answer serves all."""
    calls = [stack.infer("m", message("m", str(number).encode())) for number in range(100)]
    await stack.wants("m")
    # A later want on the same stream proves that all earlier ones have arrived.
    marker = stack.infer("marker", message("marker"))
    await stack.wants("marker")
    stack.leader.say(ready("m", stack.runtime.endpoint))
    assert [await call for call in calls] == [message("m", str(number).encode()) for number in range(100)]
    assert stack.leader.wants.count(("m", Want(load=True))) == 1
    marker.cancel()


async def test_a_refusal_is_passed_on_at_once(stack: Stack) -> None:
    """Unknown and failed models end with the leader's code and words."""
    stack.leader.script["nope"] = lambda _: failed("nope", grpc.StatusCode.NOT_FOUND, "model 'nope' not found")
    stack.leader.script["bad"] = lambda _: failed("bad", grpc.StatusCode.FAILED_PRECONDITION, "ModelNotFound: …")
    assert await ended(stack.infer("nope")) == (grpc.StatusCode.NOT_FOUND, "model 'nope' not found")
    assert await ended(stack.infer("bad")) == (grpc.StatusCode.FAILED_PRECONDITION, "ModelNotFound: …")


async def test_what_cannot_be_a_name_is_not_asked_for(stack: Stack) -> None:
    """A name that no TrainedModel can have is NOT_FOUND without the leader, and not repeated at length."""
    code, details = await ended(stack.infer("Not_A_Name"))
    assert (code, "'Not_A_Name'" in details) == (grpc.StatusCode.NOT_FOUND, True)
    code, details = await ended(stack.call("ModelInfer", message("x" * 1_000_000)))
    assert (code, len(details) < 300) == (grpc.StatusCode.NOT_FOUND, True)
    assert stack.leader.wants == []


async def test_a_deadline_says_what_was_waited_for(stack: Stack) -> None:
    """The answer comes before the client's own clock ends the call, so that its text arrives."""
    stack.leader.script["m"] = lambda _: waiting("m", "downloading from s3://b/p")
    known, unknown = (stack.infer(model, timeout=WORDS_S) for model in ("m", "n"))
    code, details = await ended(known)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "model 'm'" in details
    assert "downloading from s3://b/p" in details
    code, details = await ended(unknown)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the serving controller, which has not answered" in details


async def test_without_a_deadline_a_wait_ends_unavailable(stacks: Stacks) -> None:
    """Nobody waits for ever."""
    stack = await stacks.make(default_wait_s=2.0)
    stack.leader.script["m"] = lambda _: waiting("m", "loading")
    code, details = await ended(stack.infer("m"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "loading" in details


async def test_over_the_bound_a_request_is_refused_with_numbers(stacks: Stacks) -> None:
    """Holding is bounded in all and for each model; a client that goes away frees its place."""
    stack = await stacks.make(max_waiting=3, max_waiting_per_model=2)
    first, second = stack.infer("a"), stack.infer("a")
    await stack.wants("a")
    code, details = await ended(stack.infer("a"))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "2 requests are held already for model 'a', at most 2" in details
    third = stack.infer("b")
    await stack.wants("b")
    code, details = await ended(stack.infer("c"))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "3 requests are held already, at most 3" in details

    third.cancel()
    await eventually(lambda: "b" in stack.leader.released)
    fourth = stack.infer("d")
    await stack.wants("d")
    for call in (first, second, fourth):
        call.cancel()
    await eventually(lambda: not stack.leader.wanted)


async def test_held_requests_survive_a_leader(stack: Stack) -> None:
    """A leader that restarts is told all that is wanted, and answers those who waited before it."""
    calls = {model: stack.infer(model, message(model)) for model in ("a", "b")}
    await stack.wants("a")
    await stack.wants("b")
    await stack.leader.stop()
    calls["c"] = stack.infer("c", message("c"))
    await stack.leader.start()
    for model, call in calls.items():
        await stack.wants(model)
        stack.leader.say(ready(model, stack.runtime.endpoint))
        assert await call == message(model)


async def test_a_dead_endpoint_is_asked_about_and_the_next_answer_used(stack: Stack) -> None:
    """A server that cannot be reached makes the want stale; a new answer is followed at once."""
    dead = FakeRuntime()
    await dead.start()
    await dead.stop()
    stack.leader.script["m"] = lambda want: (
        ready("m", stack.runtime.endpoint) if want.stale else ready("m", dead.endpoint)
    )
    assert await stack.infer("m", message("m")) == message("m")
    assert stack.leader.wants[:2] == [("m", Want(load=True)), ("m", Want(load=True, stale=True))]


async def test_the_second_endpoint_is_tried_before_the_leader_is_asked(stack: Stack) -> None:
    """Of several holders one that works suffices."""
    dead = FakeRuntime()
    await dead.start()
    await dead.stop()
    stack.leader.script["m"] = lambda _: ready("m", dead.endpoint, stack.runtime.endpoint)
    assert await stack.infer("m", message("m")) == message("m")
    assert not any(want.stale for _, want in stack.leader.wants)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Request for unknown model: 'm' is not found"),
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'm' has no available versions"),
        (grpc.StatusCode.UNAVAILABLE, "Request for unknown model: 'm' version 1 is not at ready state"),
        (grpc.StatusCode.INVALID_ARGUMENT, "Model m not found"),
        (grpc.StatusCode.INVALID_ARGUMENT, "Model m with version  not found"),
    ],
)
async def test_a_server_that_lacks_the_model_is_a_stale_route(stack: Stack, code: grpc.StatusCode, text: str) -> None:
    """Both servers' words for it are understood, and the request goes where the next answer says."""
    emptied = FakeRuntime(failing(code, text))
    await emptied.start()
    stack.leader.script["m"] = lambda want: (
        ready("m", stack.runtime.endpoint) if want.stale else ready("m", emptied.endpoint)
    )
    assert await stack.infer("m", message("m")) == message("m")
    assert emptied.calls == 1
    await emptied.stop()


async def test_an_unchanged_answer_is_tried_again(stack: Stack) -> None:
    """A server that comes back at its old address is found, though the leader's answer never changed."""
    stack.runtime.behave = failing(grpc.StatusCode.INVALID_ARGUMENT, "Model m not found")
    stack.serve("m")
    call = stack.infer("m", message("m"))
    await eventually(lambda: stack.runtime.calls == 2)
    stack.runtime.behave = FakeRuntime().behave
    assert await call == message("m")


@pytest.mark.parametrize(
    "text",
    ["Model m with version 7 not found", "Request for unknown model: 'm' version 7 is not at ready state"],
)
async def test_a_server_that_insists_on_a_version_is_believed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Its caller may have named it: after some attempts the server's own words end the request, not its deadline."""
    monkeypatch.setattr("orchestrator.activator.unary._BELIEVED_AFTER", 3)
    stack.runtime.behave = failing(grpc.StatusCode.NOT_FOUND, text)
    stack.serve("m")
    assert await ended(stack.infer("m", message("m"))) == (grpc.StatusCode.NOT_FOUND, text)
    assert stack.runtime.calls == 3


@pytest.mark.parametrize(
    "text",
    ["Model m not found", "Model m with version  not found", "Request for unknown model: 'm' is not found"],
)
async def test_a_server_without_the_model_is_never_believed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """
    The leader says that it is there, so it exists: that the server lost it is not for its caller to hear.

    So it is when a server dies while nobody watches it: its adapter died just before.
    """
    monkeypatch.setattr("orchestrator.activator.unary._BELIEVED_AFTER", 1)
    stack.runtime.behave = failing(grpc.StatusCode.NOT_FOUND, text)
    stack.serve("m")
    call = stack.infer("m", message("m"))
    await eventually(lambda: stack.runtime.calls == 4)
    stack.runtime.behave = FakeRuntime().behave
    assert await call == message("m")


async def test_a_retry_of_the_mesh_makes_the_want_stale(stack: Stack) -> None:
    """x-envoy-attempt-count above 1 means that the route led nowhere."""
    stack.serve("m")
    await stack.infer("m", message("m"), metadata=(("x-envoy-attempt-count", "3"),))
    await stack.infer("m", message("m"), metadata=(("x-envoy-attempt-count", "1"),))
    # A name whose requests are over is released after a while, and the next one wants it anew.
    assert [want.stale for _, want in stack.leader.wants].count(True) == 1


async def test_the_servers_errors_pass_unchanged(stack: Stack) -> None:
    """Code, text in any script, and trailing metadata, binary ones too."""
    trailing = (("x-why", "because"), ("grpc-status-details-bin", b"\x00\xff"))
    stack.runtime.behave = failing(grpc.StatusCode.INTERNAL, "größer: 'Model m not found' — it said", trailing=trailing)
    stack.serve("m")
    call = stack.infer("m", message("m"))
    assert await ended(call) == (grpc.StatusCode.INTERNAL, "größer: 'Model m not found' — it said")
    assert tuple(await call.trailing_metadata()) == trailing
    assert stack.runtime.calls == 1


async def test_metadata_pass_both_ways(stack: Stack) -> None:
    """The client's go to the server but for what belongs to the connection; the server's come back."""

    async def behave(method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await context.send_initial_metadata((("x-initial", "1"), ("x-initial-bin", b"\x01\xfe")))
        async for one in messages:
            yield one
        context.set_trailing_metadata((("x-trailing", "2"),))

    stack.runtime.behave = behave
    stack.serve("m")
    sent = (("authorization", "Bearer t"), ("x-raw-bin", b"\x00\xff"), ("x-envoy-attempt-count", "1"))
    call = stack.infer("m", message("m"), metadata=sent)
    await call
    assert tuple(await call.initial_metadata()) == (("x-initial", "1"), ("x-initial-bin", b"\x01\xfe"))
    assert tuple(await call.trailing_metadata()) == (("x-trailing", "2"),)
    [received] = stack.runtime.metadata
    assert {"authorization": "Bearer t", "x-raw-bin": b"\x00\xff", "mm-vmodel-id": "m"}.items() <= received.items()
    assert not any(key.startswith("x-envoy-") for key in received)


async def test_the_deadline_goes_on_with_the_request(stack: Stack) -> None:
    """The server sees what remains of the client's time, and no deadline where there is none."""
    stack.serve("m")
    await stack.infer("m", message("m"), timeout=30)
    await stack.infer("m", message("m"))
    with_one, without = stack.runtime.deadlines
    assert with_one is not None
    # gRPC rounds a deadline up on its way.
    assert 20 < with_one < 31
    assert without is None


async def test_a_lost_server_is_unavailable_and_not_repeated(stack: Stack) -> None:
    """What was in flight may have been done: it is not sent again."""
    began = asyncio.Event()

    async def behave(method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        began.set()
        await asyncio.Event().wait()
        yield b""

    stack.runtime.behave = behave
    stack.serve("m")
    call = stack.infer("m", message("m"))
    await began.wait()
    await stack.runtime.stop()
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert stack.runtime.calls == 1


async def test_a_client_that_leaves_cancels_its_call(stack: Stack) -> None:
    """The server hears that nobody waits for its answer."""
    began, gone = asyncio.Event(), asyncio.Event()

    async def behave(method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        yield b""

    stack.runtime.behave = behave
    stack.serve("m")
    call = stack.infer("m", message("m"))
    await began.wait()
    call.cancel()
    await gone.wait()


class TestIdentity:
    """How a request names its model."""

    async def test_in_the_message_only(self, stack: Stack) -> None:
        """Field 1 is found wherever it stands."""
        stack.serve("m")
        assert await stack.call("ModelInfer", message("m", b"x")) == message("m", b"x")
        turned = message("", b"x") + message("m")
        assert await stack.call("ModelInfer", turned) == turned

    async def test_in_binary_metadata(self, stack: Stack) -> None:
        """mm-vmodel-id-bin is the name in UTF-8."""
        stack.serve("m")
        call = stack.call("ModelInfer", message("m"), metadata=(("mm-vmodel-id-bin", b"m"),))
        assert await call == message("m")

    async def test_in_metadata_only(self, stack: Stack) -> None:
        """A message without a name gets it: the server knows no metadata."""
        stack.serve("m")
        assert await stack.infer("m", message("", b"x")) == message("m", b"x")

    async def test_two_that_differ(self, stack: Stack) -> None:
        """INVALID_ARGUMENT names both; the server is not asked."""
        stack.serve("m")
        code, details = await ended(stack.infer("m", message("other")))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "'m'" in details
        assert "'other'" in details
        code, details = await ended(stack.infer("m", metadata=(("mm-vmodel-id", "other"),)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert stack.runtime.calls == 0

    async def test_none(self, stack: Stack) -> None:
        """INVALID_ARGUMENT says where a name is expected."""
        code, details = await ended(stack.call("ModelInfer", message("", b"x")))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "mm-vmodel-id" in details

    async def test_a_message_that_is_none(self, stack: Stack) -> None:
        """Bytes that are no protobuf, and a call that sends nothing."""
        code, _ = await ended(stack.call("ModelInfer", b"\xff\xff"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        empty: grpc.aio.StreamStreamCall[bytes, bytes] = stack.channel.stream_stream(SERVICE + "ModelInfer")()
        await empty.done_writing()
        assert await empty.code() is grpc.StatusCode.INVALID_ARGUMENT
