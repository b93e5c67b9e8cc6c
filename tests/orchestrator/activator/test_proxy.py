"""What the proxy answers itself, and what it refuses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import pytest

from orchestrator.domain.demand import Want
from protos import demand_pb2, inference_pb2
from tests.orchestrator.activator.conftest import Stack, Stacks
from tests.orchestrator.activator.fakes import (
    SERVICE,
    failed,
    failing,
    message,
    ready,
    standby,
    waiting,
)
from tests.orchestrator.waiting import eventually

Context = grpc.aio.ServicerContext[bytes, bytes]


async def is_ready(stack: Stack, model: str = "m") -> bool:
    """ModelReady, with the id in metadata and message as the mesh delivers it."""
    request = inference_pb2.ModelReadyRequest(name=model).SerializeToString()
    answer = await stack.call("ModelReady", request, metadata=(("mm-vmodel-id", model),))
    return inference_pb2.ModelReadyResponse.FromString(answer).ready


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (waiting("m", "loading"), False),
        (standby("m"), True),
        (failed("m", grpc.StatusCode.FAILED_PRECONDITION, "ModelNotFound"), False),
    ],
)
async def test_readiness_is_answered_here_unless_ready(stack: Stack, answer: demand_pb2.Answer, expected: bool) -> None:
    """The leader knows, the question loads nothing, and no server is asked."""
    stack.leader.script["m"] = lambda _: answer
    assert await is_ready(stack) is expected
    assert stack.leader.wants == [("m", Want(load=False))]
    assert stack.runtime.calls == 0


async def test_readiness_of_an_unknown_model_is_not_found(stack: Stack) -> None:
    """A typing error is not a model that is not ready yet."""
    stack.leader.script["m"] = lambda _: failed("m", grpc.StatusCode.NOT_FOUND, "model 'm' not found")
    call = stack.call("ModelReady", inference_pb2.ModelReadyRequest(name="m").SerializeToString())
    assert await call.code() is grpc.StatusCode.NOT_FOUND
    assert await call.details() == "model 'm' not found"


async def test_readiness_of_a_loaded_model_is_the_server_s(stack: Stack) -> None:
    """The server's own word, and false when it cannot be asked or does not know the model."""

    async def behave(method: str, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        assert method == "ModelReady"
        yield inference_pb2.ModelReadyResponse(ready=True).SerializeToString()

    stack.runtime.behave = behave
    stack.serve("m")
    assert await is_ready(stack)
    stack.runtime.behave = failing(grpc.StatusCode.INVALID_ARGUMENT, "Model m not found")
    assert not await is_ready(stack)
    await stack.runtime.stop()
    assert not await is_ready(stack)


async def test_a_question_does_not_load_what_a_request_does(stack: Stack) -> None:
    """ModelMetadata of a Standby model wants it loaded."""
    stack.leader.script["m"] = lambda want: ready("m", stack.runtime.endpoint) if want.load else standby("m")
    assert await is_ready(stack)
    call = stack.call("ModelMetadata", message("m"), metadata=(("mm-vmodel-id", "m"),))
    assert await call == message("m")
    assert [want for _, want in stack.leader.wants] == [Want(load=False), Want(load=True)]


async def test_server_methods_are_answered_here(stack: Stack) -> None:
    """Live, ready once the leader was heard, and whose server this is."""
    live = inference_pb2.ServerLiveResponse.FromString(await stack.call("ServerLive"))
    assert live.live
    about = inference_pb2.ServerMetadataResponse.FromString(await stack.call("ServerMetadata"))
    assert (about.name, about.version) == ("wml-serving", "1.2.3")


async def test_the_server_is_ready_once_the_leader_was_heard(stacks: Stacks) -> None:
    """Until then nothing can be served that is not loaded."""
    stack = await stacks.make(start_leader=False)
    assert not await stack.server_ready()
    await stack.leader.start()
    async with asyncio.timeout(10):
        while not await stack.server_ready():
            await asyncio.sleep(0.01)
    await stack.leader.stop()
    assert await stack.server_ready()


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryIndex", "Nonsense"])
async def test_other_methods_are_unimplemented(stack: Stack, method: str) -> None:
    """No repository call reaches a server."""
    assert await stack.call(method, message("m")).code() is grpc.StatusCode.UNIMPLEMENTED
    assert stack.runtime.calls == 0


async def test_other_services_are_unimplemented(stack: Stack) -> None:
    """Nor does any other."""
    ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = stack.channel.unary_unary("/other.Service/Method")
    assert await ask(b"").code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_unread_message_is_not_held_here(stacks: Stacks) -> None:
    """While its model is not ready a large message stays with its sender: the write does not complete."""
    stack = await stacks.make()
    infer: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = stack.channel.stream_stream(SERVICE + "ModelInfer")
    stream = infer(metadata=(("mm-vmodel-id", "m"),))
    sent = message("m", bytes(8 << 20))
    writing = asyncio.create_task(stream.write(sent))
    await stack.wants("m")
    # What the server answers others has gone round the same connection meanwhile.
    await stack.call("ServerLive")
    assert not writing.done()
    stack.leader.say(ready("m", stack.runtime.endpoint))
    await writing
    await stream.done_writing()
    assert await stream.read() == sent


async def test_requests_are_served_while_many_are_held(stacks: Stacks) -> None:
    """A cold model with large messages does not stand in a ready one's way."""
    stack = await stacks.make()
    held = [stack.infer("cold", message("cold", bytes(1 << 20))) for _ in range(20)]
    await stack.wants("cold")
    stack.serve("m")
    assert await stack.infer("m", message("m")) == message("m")
    for call in held:
        call.cancel()
    await eventually(lambda: "cold" in stack.leader.released)


async def test_a_flood_over_the_bound_is_refused_in_words(stacks: Stacks) -> None:
    """All that come at once are seen: none is cancelled by gRPC because too many are waiting to be seen."""
    stack = await stacks.make(max_waiting=10, max_waiting_per_model=10)
    held = [stack.infer("m") for _ in range(10)]
    await stack.wants("m")
    codes = Counter(await asyncio.gather(*(stack.infer("m").code() for _ in range(1_300))))
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED: 1_300}
    for call in held:
        call.cancel()
    await eventually(lambda: not stack.leader.wanted)
