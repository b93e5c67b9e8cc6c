"""The mesh with a real Envoy: what the scripts, routes, retries and the ledger do together."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from orchestrator.domain.addresses import ANYWHERE, host_port, split
from orchestrator.mesh.lua import COMPRESSED, NO_MODEL_IN_STREAM
from orchestrator.mesh.upstream import MAX_REQUESTS
from tests.families import LOOPBACKS
from tests.orchestrator.waiting import eventually
from tests.standalone.envoy_stack import (
    SERVICE,
    FakeServer,
    Stack,
    admin_get,
    eventually_cluster_count,
    eventually_ready,
    field_1,
    free_address,
    model_message,
    publish,
    waiting,
)

LIMIT = 16 << 20
TRITON = (grpc.StatusCode.UNAVAILABLE, "Request for unknown model: 'm' is not found")
TRITON_NEVER_LOADED = (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'm' is not found")
MLSERVER = (grpc.StatusCode.INVALID_ARGUMENT, "Model m not found")
MLSERVER_EMPTY_VERSION = (grpc.StatusCode.NOT_FOUND, "Model m with version  not found")


async def test_it_listens_for_both_families(tmp_path: Path) -> None:
    """As a mesh pod's Envoy does, whose clients come by the family that their cluster has."""
    _, port = split(free_address())
    async with (
        FakeServer("activator").serve(f"unix:{tmp_path}/activator.sock") as activator,
        waiting(tmp_path, host_port(ANYWHERE, port), activator=activator.address) as (control, _),
    ):
        await control.start()
        await eventually_ready(f"{tmp_path}/admin.sock")
        for host in LOOPBACKS:
            async with grpc.aio.insecure_channel(host_port(host, port)) as channel:
                infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SERVICE + "ModelInfer")
                assert await infer(model_message("m"), timeout=20) == b"activator"


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "ModelMetadata"])
async def test_a_model_is_found_by_metadata_and_by_message(stack: Stack, server: FakeServer, method: str) -> None:
    """In each of the ways that the contract names, and the label is there for what follows."""
    await publish(stack, server.address)
    message = model_message("m")
    assert await stack.call(method, message, mm_vmodel_id="m") == b"server"
    assert await stack.call(method, b"", mm_vmodel_id="m") == b"server"
    assert await stack.call(method, message, mm_vmodel_id_bin=b"m") == b"server"
    assert await stack.call(method, message) == b"server"
    assert [call.metadata["mm-vmodel-id"] for call in server.calls] == ["m"] * 4
    assert server.calls[-1].message == message


@pytest.mark.parametrize("name", ["a", "ab", "abc", "abcd", "a" * 127, "a" * 128, "a" * 253, "m.v-2.0"])
async def test_names_of_any_length_are_decoded(stack: Stack, server: FakeServer, name: str) -> None:
    """With every padding of base64, and with lengths of one and two bytes in the message."""
    await publish(stack, server.address, model=name)
    assert await stack.call("ModelInfer", b"", mm_vmodel_id_bin=name.encode()) == b"server"
    assert await stack.call("ModelInfer", model_message(name)) == b"server"
    assert await stack.call("ModelInfer", model_message(name, 70_000)) == b"server"


async def test_metadata_goes_before_the_message(stack: Stack, server: FakeServer) -> None:
    """Comparing them costs reading the message; on a warm route that is the caller's responsibility."""
    await publish(stack, server.address)
    assert await stack.call("ModelInfer", model_message("other"), mm_vmodel_id="m") == b"server"
    assert await stack.call("ModelInfer", model_message("m"), mm_vmodel_id="other") == b"activator"
    assert await stack.call("ModelInfer", model_message("m"), mm_vmodel_id_bin=b"other") == b"activator"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        field_1(b"x", number=2) + model_message("m"),
        b"\x0a",
        b"\x0a\x05m",
        b"\x0a\xff\xff\xff\xff\x0fm",
        b"\x0a\x00" + model_message("m"),
        field_1(b"m" * 254),
        field_1(b"m\0"),
        field_1(b"m\r\nx-envoy-max-retries: 9"),
        field_1("modèle".encode()),
        field_1(b"../activator"),
        field_1(b"m" * 100_000),
    ],
    ids=lambda message: repr(message[:12]),
)
async def test_odd_messages_go_to_the_activator_unlabelled(stack: Stack, server: FakeServer, message: bytes) -> None:
    """It parses properly and has words for them."""
    await publish(stack, server.address)
    assert await stack.call("ModelInfer", message) == b"activator"
    assert "mm-vmodel-id" not in stack.activator.calls[-1].metadata
    assert stack.activator.calls[-1].message == message


@pytest.mark.parametrize("name", ["M", "m/../x", "m,m", "%6d", "x" * 4_000, "activator", "xds", "-m"])
async def test_odd_names_in_metadata_are_harmless(stack: Stack, server: FakeServer, name: str) -> None:
    """No such name has a cluster."""
    await publish(stack, server.address)
    assert await stack.call("ModelInfer", b"", mm_vmodel_id=name) == b"activator"
    assert await stack.call("ModelInfer", model_message("m"), mm_vmodel_id_bin=name.encode()) == b"activator"
    assert await stack.call("ModelInfer", model_message("m"), mm_vmodel_id_bin=b"m\0\xff") == b"activator"
    assert "mm-vmodel-id" not in stack.activator.calls[-1].metadata


async def test_an_empty_name_in_metadata_is_none(stack: Stack, server: FakeServer) -> None:
    """The message decides."""
    await publish(stack, server.address)
    assert await stack.call("ModelInfer", model_message("m"), mm_vmodel_id="") == b"server"


async def test_a_compressed_message_needs_metadata(stack: Stack, server: FakeServer) -> None:
    """It cannot be read; with metadata it passes as it is."""
    await publish(stack, server.address)
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = stack.channel.unary_unary(SERVICE + "ModelInfer")
    message = model_message("m", 10_000)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(message, compression=grpc.Compression.Gzip, timeout=10)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, COMPRESSED)
    metadata = (("mm-vmodel-id", "m"),)
    assert await call(message, compression=grpc.Compression.Gzip, metadata=metadata, timeout=10) == b"server"


async def test_a_stream_needs_metadata(stack: Stack, server: FakeServer) -> None:
    """Without, it is refused before its first message; with, messages pass one by one."""
    await publish(stack, server.address)
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = stack.channel.stream_stream(SERVICE + "ModelStreamInfer")
    refused = method(timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await refused.read()
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, NO_MODEL_IN_STREAM)
    for metadata in ((("mm-vmodel-id", "m"),), (("mm-vmodel-id-bin", b"m"),)):
        stream = method(metadata=metadata, timeout=10)
        for _ in range(3):
            await stream.write(model_message("m", LIMIT + 1))
            assert await stream.read() == b"server"
        await stream.done_writing()
        assert await stream.read() == grpc.aio.EOF


async def test_methods(stack: Stack) -> None:
    """The product answers for the server; what is no inference method is not served."""
    for method in ("ServerLive", "ServerReady", "ServerMetadata"):
        assert await stack.call(method, b"") == b"activator"
    for method in ("RepositoryModelLoad", "RepositoryIndex", "ModelInferX", "ModelStatistics"):
        code, text = await stack.error(method, model_message("m"), mm_vmodel_id="m")
        assert code == grpc.StatusCode.UNIMPLEMENTED
        assert "inference.GRPCInferenceService" in text
    other: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = stack.channel.unary_unary("/grpc.health.v1.Health/Check")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await other(b"", timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_the_message_limit(stack: Stack, server: FakeServer) -> None:
    """Exactly the limit passes, however the model is named; one byte more is refused with both numbers."""
    await publish(stack, server.address)
    server.answer = b"x" * LIMIT
    assert await stack.call("ModelInfer", model_message("m", LIMIT)) == server.answer
    assert await stack.call("ModelInfer", model_message("m", LIMIT), mm_vmodel_id="m") == server.answer
    assert len(server.calls[-1].message) == LIMIT
    for size in (LIMIT + 1, 3 * LIMIT):
        for metadata in ({}, {"mm_vmodel_id": "m"}):
            code, text = await stack.error("ModelInfer", model_message("m", size), **metadata)
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
            numbers = [int(word) for word in text.split() if word.isdecimal()]
            assert numbers[0] == LIMIT
            assert numbers[1] > LIMIT
    assert len(server.calls) == 2


async def test_over_the_bound_envoy_refuses_as_the_activator_does(stack: Stack, server: FakeServer) -> None:
    """RESOURCE_EXHAUSTED with the bound, whoever refuses; what is within it is answered."""
    await publish(stack, server.address)
    server.hold.clear()
    calls = [asyncio.create_task(stack.call("ModelInfer", b"", mm_vmodel_id="m")) for _ in range(MAX_REQUESTS)]
    await eventually(lambda: len(server.calls) == MAX_REQUESTS, within=50)
    code, text = await stack.error("ModelInfer", b"", mm_vmodel_id="m")
    assert (code, f"{MAX_REQUESTS} requests for one model" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    server.hold.set()
    assert {await call for call in calls} == {b"server"}


async def test_clients_do_not_steer_the_router(stack: Stack, server: FakeServer) -> None:
    """Their x-envoy headers are gone; the attempt count is Envoy's own."""
    await publish(stack, server.address)
    steering = {
        "x_envoy_attempt_count": "7",
        "x_envoy_max_retries": "9",
        "x_envoy_upstream_rq_timeout_ms": "1",
        "x_envoy_anything": "x",
    }
    assert await stack.call("ModelInfer", model_message("m"), x_other="kept", **steering) == b"server"
    seen = {key: value for key, value in server.calls[-1].metadata.items() if key.startswith("x-")}
    assert seen == {"x-forwarded-proto": "http", "x-other": "kept", "x-envoy-attempt-count": "1"}


@pytest.mark.parametrize("error", [TRITON, TRITON_NEVER_LOADED, MLSERVER, MLSERVER_EMPTY_VERSION])
@pytest.mark.parametrize("size", [0, LIMIT])
async def test_a_stale_route_ends_at_the_activator(
    stack: Stack, server: FakeServer, error: tuple[grpc.StatusCode, str], size: int
) -> None:
    """With the whole message, and an attempt count that tells it so."""
    await publish(stack, server.address)
    server.error = error
    message = model_message("m", size)
    assert await stack.call("ModelInfer", message) == b"activator"
    call = stack.activator.calls[-1]
    assert (call.metadata["x-envoy-attempt-count"], call.message == message) == ("3", True)


async def test_another_holder_goes_before_the_activator(stack: Stack, server: FakeServer) -> None:
    """One stale or dead holder costs nothing while another serves."""
    server.error = TRITON
    async with FakeServer("second").serve("127.0.0.1:0") as second:
        await publish(stack, server.address, second.address, free_address())
        answers = [await stack.call("ModelInfer", model_message("m")) for _ in range(20)]
    # Three hosts, two attempts: both may hit the bad ones, and then it is the activator's.
    assert set(answers) <= {b"second", b"activator"}
    assert b"second" in answers


async def test_a_dead_server_ends_at_the_activator(stack: Stack) -> None:
    """A refused connection is retried there."""
    await publish(stack, free_address())
    assert await stack.call("ModelInfer", model_message("m")) == b"activator"
    assert stack.activator.calls[-1].metadata["x-envoy-attempt-count"] == "3"


async def test_a_servers_own_error_passes_unchanged(stack: Stack, server: FakeServer) -> None:
    """And is not repeated."""
    await publish(stack, server.address)
    server.error = (grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'x' of model 'm'")
    assert await stack.error("ModelInfer", model_message("m")) == server.error
    assert len(server.calls) == 1


async def test_a_withdrawn_route_leads_to_the_activator(stack: Stack, server: FakeServer) -> None:
    """And so does a removed one, and one that comes back leads to its server."""
    await publish(stack, server.address)
    await publish(stack)
    assert await stack.call("ModelInfer", model_message("m")) == b"activator"
    await publish(stack, server.address)
    assert await stack.call("ModelInfer", model_message("m")) == b"server"
    stack.control.router.remove("m")
    await eventually_cluster_count(stack, 0)
    assert await stack.call("ModelInfer", model_message("m")) == b"activator"


@pytest.mark.parametrize(
    ("size", "metadata"), [(0, ()), (LIMIT, ()), (0, ("mm_vmodel_id",))], ids=["message", "large", "metadata"]
)
async def test_an_activator_that_is_started_again_is_waited_for(
    stack: Stack, size: int, metadata: tuple[str, ...]
) -> None:
    """What was sent while there was none is answered by the next one: with a route, with a dead server, and without."""
    await publish(stack, model="withdrawn")
    await publish(stack, free_address(), model="dead")
    await stack.activator.stop()
    calls = [
        asyncio.create_task(stack.call("ModelInfer", model_message(name, size), **dict.fromkeys(metadata, name)))
        for name in ("withdrawn", "dead", "unknown")
    ]
    # One at least has met a closed door more than once.
    await eventually_stat(stack, b"cluster.activator.upstream_cx_connect_fail: ", at_least=3)
    assert not any(call.done() for call in calls)
    async with FakeServer("next").serve(stack.activator.address):
        assert await asyncio.gather(*calls) == [b"next"] * 3


async def test_a_large_message_is_not_kept_for_an_activator_that_is_away(stack: Stack) -> None:
    """
    One that is not collected here, since its metadata names the model: UNAVAILABLE at once, in words.

    It outgrows what is kept between two attempts or during one, about one in twenty; Envoy has an answer for each.
    """
    await stack.activator.stop()
    errors = {await stack.error("ModelInfer", model_message("m", LIMIT), mm_vmodel_id="m") for _ in range(50)}
    assert {code for code, _ in errors} == {grpc.StatusCode.UNAVAILABLE}
    assert [text for _, text in errors if not text.startswith("there is nobody to hold this request just now")] == []
    assert [text for _, text in errors if not text.endswith("try again")] == []


async def eventually_stat(stack: Stack, name: bytes, *, at_least: int) -> None:
    """Wait until one of Envoy's counters has come that far."""
    for _ in range(500):
        lines = (await admin_get(stack.admin, "/stats")).splitlines()
        if any(line.startswith(name) and int(line.removeprefix(name)) >= at_least for line in lines):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{name!r} is not {at_least}")


async def test_without_anybody_to_answer_it_is_unavailable(stack: Stack) -> None:
    """In the end: in our words, and with Envoy's reason."""
    await publish(stack, free_address())
    await stack.activator.stop()
    errors = (stack.error(method, model_message("m")) for method in ("ModelInfer", "ServerLive"))
    for code, text in await asyncio.gather(*errors):
        assert code == grpc.StatusCode.UNAVAILABLE
        assert text.startswith("there is nobody to hold this request just now (upstream connect error")
        assert text.endswith("): try again")


async def test_what_is_in_flight_when_its_server_dies_is_not_repeated(stack: Stack, server: FakeServer) -> None:
    """The one declared loss."""
    await publish(stack, server.address)
    server.hold.clear()
    call = asyncio.create_task(stack.error("ModelInfer", model_message("m")))
    await eventually(lambda: server.calls)
    await server.stop()
    code, _ = await call
    assert code == grpc.StatusCode.UNAVAILABLE
    assert stack.activator.calls == []
