"""
The stock client, as users have it, and its channel for what it cannot send.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.standalone.models import Images

SERVICE: Final = "/inference.GRPCInferenceService/"
TIMEOUT_S: Final = 30.0

Metadata = Mapping[str, str | bytes]


class CallError(Exception):
    """A request that failed, by its status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class Client:
    """One connection to port 8033 of a stack."""

    def __init__(self, target: str) -> None:
        self._triton = InferenceServerClient(target)
        self._channel = grpc.insecure_channel(target)

    @property
    def triton(self) -> Any:
        """The stock client itself."""
        return self._triton

    def close(self) -> None:
        """Close both connections."""
        self._triton.close()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def classes(
        self, model: str, images: Images, *, metadata: bool = True, timeout: float = TIMEOUT_S
    ) -> NDArray[np.int64]:
        """What the model says that the images are. Raises CallError."""
        headers: Metadata | None = {"mm-vmodel-id": model} if metadata else None
        return classes_of(self.infer(model, images, headers=headers, timeout=timeout))

    def infer(
        self, model: str, array: NDArray[Any], *, headers: Metadata | None = None, timeout: float = TIMEOUT_S
    ) -> InferResult:
        """ModelInfer with one input. Raises CallError."""
        try:
            return self._triton.infer(model, [tensor(array)], headers=headers, client_timeout=timeout)
        except InferenceServerException as error:
            raise call_error(error) from None

    def call(
        self, method: str, message: bytes, *, headers: Metadata | None = None, timeout: float = TIMEOUT_S
    ) -> bytes:
        """Any unary method (`SERVICE` stands before a bare name), bytes in and out. Raises CallError."""
        path = method if method.startswith("/") else SERVICE + method
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            path, request_serializer=None, response_deserializer=None
        )
        call = ask.future(message, metadata=tuple((headers or {}).items()), timeout=timeout)
        code = call.code()
        if code is not grpc.StatusCode.OK:
            raise CallError(code, call.details() or "")
        return call.result()


def tensor(array: NDArray[Any]) -> InferInput:
    """The input `digits`, as the samples' models call theirs."""
    given = InferInput("digits", list(array.shape), np_to_triton_dtype(array.dtype))
    given.set_data_from_numpy(array)
    return given


def classes_of(result: InferResult) -> NDArray[np.int64]:
    """The classes in an answer: labels as they are, probabilities by the largest."""
    outputs = [output.name for output in result.get_response().outputs]
    answer = result.as_numpy("label" if "label" in outputs else outputs[0])
    if answer.ndim == 2 and answer.shape[1] > 1:
        answer = answer.argmax(axis=1)
    return np.asarray(answer.reshape(-1), dtype=np.int64)


def call_error(error: InferenceServerException) -> CallError:
    """The status behind the stock client's exception."""
    name = str(error.status()).removeprefix("StatusCode.")
    return CallError(grpc.StatusCode[name], error.message() or "")


def field_1(text: str) -> bytes:
    """A protobuf message whose field 1 is this string: a request that names a model, and nothing else."""
    raw = text.encode()
    assert len(raw) < 128
    return bytes([10, len(raw)]) + raw
