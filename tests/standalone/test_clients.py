"""
What clients get on the port: every line of the contract's section Clients.

Crashes apart: what a killed process costs is another matter.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferResult, service_pb2
from tritonclient.utils import InferenceServerException

from tests.standalone.client import CallError, Client, Metadata, call_error, classes_of, field_1, tensor
from tests.standalone.liar import Liar
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.patience import Ending
from tests.standalone.servers import server
from tests.standalone.stack import Stack
from tests.standalone.waiting import wait_until

LIMIT = 16 << 20
UNKNOWN = "no-such-model"
#: The contract's: how long a request without a deadline is held.
PATIENCE_S = 120.0


def infer_message(model: str, array: Any) -> bytes:
    """A ModelInferRequest for whatever model it names."""
    request = service_pb2.ModelInferRequest(model_name=model)
    given = request.inputs.add(name="digits", datatype="FP32", shape=list(array.shape))
    del given
    request.raw_input_contents.append(array.tobytes())
    message: bytes = request.SerializeToString()
    return message


# Who names the model, and how.


@pytest.mark.parametrize("framework", ["sklearn", "onnx"])
def test_model_is_named_in_binary_metadata(
    line: dict[str, str], client: Client, models: Models, framework: str
) -> None:
    """`mm-vmodel-id-bin` works as `mm-vmodel-id` does."""
    message = infer_message(line[framework], models.images[:1])
    answer = service_pb2.ModelInferResponse.FromString(
        client.call("ModelInfer", message, headers={"mm-vmodel-id-bin": line[framework].encode()})
    )
    assert answer.model_name == line[framework]


@pytest.mark.parametrize("header", ["mm-vmodel-id", "mm-vmodel-id-bin"])
@pytest.mark.parametrize("framework", ["sklearn", "onnx"])
def test_metadata_are_enough(line: dict[str, str], client: Client, models: Models, framework: str, header: str) -> None:
    """A message that names no model is for the one that the metadata name, loaded or not: servers know no metadata."""
    name = line[framework]
    headers: Metadata = {header: name.encode() if header.endswith("-bin") else name}
    message = client.call("ModelInfer", infer_message("", models.images[:1]), headers=headers)
    assert service_pb2.ModelInferResponse.FromString(message).model_name == name
    message = client.call("ModelMetadata", b"", headers=headers)
    assert service_pb2.ModelMetadataResponse.FromString(message).name == name
    if framework == "sklearn":
        message = client.call("ModelReady", b"", headers=headers)
        assert service_pb2.ModelReadyResponse.FromString(message).ready


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "ModelMetadata"])
def test_request_without_any_id_is_invalid(client: Client, method: str) -> None:
    """No metadata and an empty message: INVALID_ARGUMENT that says where the name goes."""
    with pytest.raises(CallError) as refused:
        client.call(method, b"")
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "mm-vmodel-id" in refused.value.message


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "ModelMetadata"])
@pytest.mark.parametrize("headers", [{"mm-vmodel-id": UNKNOWN}, None], ids=["metadata", "message"])
def test_unknown_model_is_not_found_by_name(client: Client, method: str, headers: Metadata | None) -> None:
    """NOT_FOUND names the model that was asked for; whoever waited for it would run into the deadline."""
    with pytest.raises(CallError) as refused:
        client.call(method, field_1(UNKNOWN), headers=headers, timeout=10)
    assert refused.value.code is grpc.StatusCode.NOT_FOUND
    assert UNKNOWN in refused.value.message


# Methods.


@pytest.mark.parametrize("framework", ["sklearn", "xgboost", "lightgbm", "onnx"])
def test_readiness_and_metadata_come_from_the_model(line: dict[str, str], client: Client, framework: str) -> None:
    """ModelReady is true and ModelMetadata is the server's own, under the model's own name."""
    name = line[framework]
    assert client.triton.is_model_ready(name) is True
    assert client.triton.is_model_ready(name, headers={"mm-vmodel-id": name}) is True
    metadata = client.triton.get_model_metadata(name)
    assert metadata.name == name
    if framework == "onnx":
        assert [i.name for i in metadata.inputs] == ["digits"]


def test_server_methods_are_the_products(shared: Stack, client: Client) -> None:
    """ServerLive, ServerReady and ServerMetadata need no model."""
    assert client.triton.is_server_live() is True
    assert client.triton.is_server_ready() is True
    metadata = client.triton.get_server_metadata()
    assert metadata.name
    assert metadata.version


@pytest.mark.parametrize(
    "method",
    [
        "RepositoryIndex",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
        "ModelConfig",
        "ModelStatistics",
        "SystemSharedMemoryStatus",
        "TraceSetting",
        "/inference.ModelRepositoryService/RepositoryModelUnload",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/anything.Else/AtAll",
    ],
)
def test_other_methods_are_unimplemented(line: dict[str, str], client: Client, method: str) -> None:
    """Nothing but inference reaches a server, whatever the metadata say."""
    with pytest.raises(CallError) as refused:
        client.call(method, field_1(line["sklearn"]), headers={"mm-vmodel-id": line["sklearn"]})
    assert refused.value.code is grpc.StatusCode.UNIMPLEMENTED
    assert client.triton.is_model_ready(line["sklearn"]) is True


def stream(
    stack: Stack, model: str, models: Models, headers: Metadata | None
) -> tuple[InferResult | None, CallError | None]:
    """The first thing that a stream answers."""
    answers: queue.Queue[tuple[InferResult | None, InferenceServerException | None]] = queue.Queue()
    with stack.client() as client:
        client.triton.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
        try:
            client.triton.async_stream_infer(model, [tensor(models.images[:1])])
        except InferenceServerException:
            # The stream has failed already; how, the callback was told.
            pass
        result, error = answers.get(timeout=20)
        client.triton.stop_stream(cancel_requests=True)
    return result, None if error is None else call_error(error)


def test_stream_goes_to_the_model_in_its_metadata(line: dict[str, str], shared: Stack, models: Models) -> None:
    """ModelStreamInfer answers as ModelInfer does."""
    result, error = stream(shared, line["onnx"], models, {"mm-vmodel-id": line["onnx"]})
    assert error is None
    with shared.client() as client:
        assert list(classes_of(result)) == list(client.classes(line["onnx"], models.images[:1]))


def test_stream_without_metadata_is_invalid(line: dict[str, str], shared: Stack, models: Models) -> None:
    """A stream is routed before its first message: INVALID_ARGUMENT at once, saying what is missing."""
    _, error = stream(shared, line["onnx"], models, None)
    assert error is not None
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "mm-vmodel-id" in error.message


# What passes unchanged.


@pytest.mark.parametrize("framework", ["sklearn", "onnx"])
def test_runtimes_own_errors_pass_unchanged(
    line: dict[str, str], shared: Stack, client: Client, models: Models, framework: str
) -> None:
    """An input of the wrong shape: status and words are those that the server itself gives to who asks it directly."""
    message = infer_message(line[framework], models.images[:1, :7].copy())
    with server(shared, framework) as itself, pytest.raises(CallError) as direct:
        itself.call("ModelInfer", message)
    with pytest.raises(CallError) as through:
        client.call("ModelInfer", message)
    assert (through.value.code, through.value.message) == (direct.value.code, direct.value.message)


# Sizes.


def test_messages_of_the_limit_pass_both_ways(shared: Stack, models: Models, name: str, client: Client) -> None:
    """16 MiB to the byte in a request, and close to as much in an answer."""
    shared.apply(trained_model(name, models.uri("wide.joblib"), "sklearn"))
    shared.wait_ready(name)
    rows = np.zeros((4, 1), np.float32)
    message = infer_message(name, rows)
    # A parameter that nobody reads fills the message up.
    request = service_pb2.ModelInferRequest.FromString(message)
    request.parameters["filler"].string_param = "x" * (LIMIT - len(message) - 64)
    padding = LIMIT - len(request.SerializeToString())
    request.parameters["filler"].string_param += "x" * padding
    full = request.SerializeToString()
    assert len(full) == LIMIT
    assert client.call("ModelInfer", full)
    # 64 FP32 a row: 256 bytes.
    many = np.arange(LIMIT // 256 - 100, dtype=np.float32).reshape(-1, 1)
    answer = client.infer(name, many)
    output = answer.as_numpy(answer.get_response().outputs[0].name)
    assert output.nbytes > 0.99 * LIMIT
    assert np.allclose(output[-1], many[-1], rtol=1e-3)


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "unknown"])
def test_message_over_the_limit_is_refused_with_both_numbers(
    line: dict[str, str], client: Client, models: Models, warm: bool
) -> None:
    """
    RESOURCE_EXHAUSTED with the limit and what came; the connection goes on.

    With metadata a model that is not there is told from its name, and the message is not even taken.
    """
    model = line["sklearn"] if warm else UNKNOWN
    message = infer_message(model, np.zeros((LIMIT // 256 + 4096, 64), np.float32))
    with pytest.raises(CallError) as refused:
        client.call("ModelInfer", message, headers={"mm-vmodel-id": model} if warm else None)
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    numbers = [int(word) for word in refused.value.message.split() if word.isdigit()]
    assert LIMIT in numbers
    assert any(LIMIT < number <= len(message) + 5 for number in numbers), refused.value.message
    assert len(client.classes(line["sklearn"], models.images[:1])) == 1


# Holding.


@pytest.fixture
def held(shared: Stack, liar: Liar, models: Models, name: str) -> Iterator[Callable[[], None]]:
    """A model `name` that downloads until the fixture's value is called."""
    liar.buckets["slow"] = {"digits.joblib": models.file("sklearn/digits.joblib").read_bytes()}
    liar.stalled.add("slow")
    shared.secret(slow=liar.entry)
    shared.apply(trained_model(name, "s3://slow/digits.joblib", "sklearn", key="slow"))
    shared.wait_condition(name, "Downloading")
    yield liar.release
    liar.release()
    shared.delete(name)
    shared.wait_gone(name)
    shared.secret(slow=None)


def test_held_request_is_answered_when_the_model_is_there(
    held: Callable[[], None], client: Client, models: Models, name: str
) -> None:
    """It waits for the load, by metadata and by message, and is answered."""
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(client.classes, name, models.images[:1], metadata=by) for by in (True, False)]
        with pytest.raises(CallError):
            # Later than both, so both were held while it was.
            client.classes(name, models.images[:1], timeout=0.5)
        assert not any(answer.done() for answer in asked)
        held()
        first, second = (answer.result(timeout=30) for answer in asked)
    assert list(first) == list(second)


def test_ids_that_differ_are_refused_on_a_cold_route(
    held: Callable[[], None], client: Client, models: Models, name: str
) -> None:
    """Metadata and message name two models: the activator, which reads both, refuses and says which."""
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(client.infer, "another-model", models.images[:1], headers={"mm-vmodel-id": name})
        with pytest.raises(CallError):
            # Later, so that the first is held while this one is.
            client.classes(name, models.images[:1], timeout=0.5)
        held()
        refused = asked.exception(timeout=30)
    assert isinstance(refused, CallError)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert name in refused.message
    assert "another-model" in refused.message


def test_held_request_ends_at_its_deadline_and_says_why(
    held: Callable[[], None], client: Client, models: Models, name: str
) -> None:
    """DEADLINE_EXCEEDED at the client's own deadline, and early enough that the client reads what it waited for."""

    def ended() -> str:
        started = time.monotonic()
        with pytest.raises(CallError) as late:
            client.classes(name, models.images[:1], timeout=3.0)
        assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started > 2.0
        return late.value.message

    # The answer is a quarter of a second early: on a busy machine the client may end the call itself all the same.
    words = (ended() for _ in range(3))
    assert "Downloading" in next((said for said in words if name in said), "the client's own words only")


def test_readiness_of_a_model_on_its_way_is_false(held: Callable[[], None], client: Client, name: str) -> None:
    """ModelReady answers instead of waiting: the model comes only after this test."""
    assert client.triton.is_model_ready(name, client_timeout=10) is False


def test_holding_is_bounded_and_a_client_that_goes_frees_its_place(
    held: Callable[[], None], line: dict[str, str], shared: Stack, client: Client, models: Models, name: str
) -> None:
    """Over the bound RESOURCE_EXHAUSTED at once; others are served meanwhile; cancelled ones make room again."""
    message = infer_message(name, models.images[:1])
    with grpc.insecure_channel(shared.target) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer"
        )
        calls = [ask.future(message, metadata=(("mm-vmodel-id", name),), timeout=60) for _ in range(1500)]
        wait_until(lambda: sum(c.done() for c in calls) >= 100, "no request was refused")
        refused = [c for c in calls if c.done()]
        assert {c.code() for c in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert len(refused) < len(calls) - 100, "next to nothing is held"
        assert len(client.classes(line["sklearn"], models.images[:1])) == 1
        for call in calls:
            call.cancel()

    def has_room() -> bool:
        try:
            client.classes(name, models.images[:1], timeout=0.5)
        except CallError as error:
            return error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        return True

    wait_until(has_room, "cancelled requests keep their places")


def test_request_without_a_deadline_is_held_for_two_minutes(patient: Future[Ending]) -> None:
    """Then UNAVAILABLE, saying for what it waited."""
    ending = patient.result(timeout=PATIENCE_S + 30)
    assert ending.code is grpc.StatusCode.UNAVAILABLE
    assert "RuntimeStarting" in ending.message
    assert PATIENCE_S - 5 < ending.seconds < PATIENCE_S + 10
