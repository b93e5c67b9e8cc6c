"""
A request without a deadline, held for as long as the product holds one.

It takes two minutes, so it is asked in a thread when the session begins, and
looked at when its test comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import grpc

from tests.standalone.client import SERVICE, field_1
from tests.standalone.manifests import serving_runtime, trained_model
from tests.standalone.stack import Stack

_NAME: Final = "patient"


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended, and after how long."""

    code: grpc.StatusCode
    message: str
    seconds: float


@contextmanager
def patience(stack: Stack, uri: str) -> Iterator[Future[Ending]]:
    """Ask a model whose server never comes up: a runtime of the user's that crashes whenever it starts."""
    environment = {"PYTHONHOME": "/nonexistent"}
    stack.apply(
        serving_runtime(f"{_NAME}-runtime", "mlserver", ["sklearn"], environment=environment),
        trained_model(_NAME, uri, "sklearn", runtime=f"{_NAME}-runtime"),
    )
    stack.wait_condition(_NAME, "RuntimeStarting")
    ending: Future[Ending] = Future()
    with grpc.insecure_channel(stack.target) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}ModelInfer")
        started = time.monotonic()
        call = ask.future(field_1(_NAME))

        def wait() -> None:
            code, message = call.code(), call.details() or ""
            ending.set_result(Ending(code, message, time.monotonic() - started))

        waiter = threading.Thread(target=wait, name=_NAME)
        waiter.start()
        try:
            yield ending
        finally:
            call.cancel()
            waiter.join()
