"""
One attempt to have a server answer a request.

An attempt that certainly did nothing raises NotThere, and the request may be
sent elsewhere: no connection, a refused stream, or the server's own words that
it does not hold the model. Everything else is the request's answer, the loss of
a connection included: the server may have begun.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from orchestrator.activator.budget import Permit
from orchestrator.activator.channels import Connection
from orchestrator.activator.hold import Hold
from orchestrator.activator.identity import forwarded
from orchestrator.domain.unknown_model import UNKNOWN_MODEL

Metadata = Sequence[tuple[str, str | bytes]]

#: The servers' words for "I do not hold this model", whole; the mesh retries by the same.
_UNKNOWN_MODEL: Final = re.compile("|".join(UNKNOWN_MODEL))
#: Those of them that name a version: the caller may have asked for one that the model does not have.
_OF_A_VERSION: Final = re.compile(r" version [^ ]+ (not found|is not at ready state)$")
_UNKNOWN_MODEL_CODES: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNKNOWN,
)
#: gRPC's own words for a stream that the server never began.
_REFUSED_STREAM: Final = "REFUSED_STREAM"

#: How long an answer may take once its headers are here and it has a permit, which others wait for. As a rule it is here
#: by then.
_ANSWER_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ended."""

    code: grpc.StatusCode
    details: str
    trailing: Metadata


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered. `permit` is for `message`, and the receiver's to release."""

    initial: Metadata
    message: bytes | None
    permit: Permit | None
    status: Status


class NotThere(Exception):
    """The server did not take the request: it can be sent elsewhere. `said` is its answer, if it gave one."""

    def __init__(self, why: str, said: Response | None = None) -> None:
        super().__init__(why)
        self.said = said


def is_not_there(status: Status) -> bool:
    """Whether a call that ended so, without any response headers, did nothing."""
    if status.code in _UNKNOWN_MODEL_CODES and _UNKNOWN_MODEL.fullmatch(status.details):
        return True
    return status.code is grpc.StatusCode.UNAVAILABLE and _REFUSED_STREAM in status.details


def may_be_the_callers(status: Status) -> bool:
    """Whether words for which `is_not_there` is true may be due to what the caller asked for."""
    return _OF_A_VERSION.search(status.details) is not None


async def exchange(
    hold: Hold,
    connection: Connection,
    method: str,
    message: bytes,
    *,
    model: str,
    metadata: Metadata,
    timeout: float | None,
    deadline: float | None,
    max_message_bytes: int,
) -> Response:
    """
    Send the request and read the one response, when there is room for it: room is waited for until `deadline`.

    Raises NotThere.
    """
    call = connection.unary(method)(message, metadata=metadata, timeout=timeout)
    permit: Permit | None = None
    pool = hold.budget.responses
    try:
        # Only now does a response exist: a permit taken earlier would be idle for as long as the model computes.
        initial = forwarded(await call.initial_metadata())
        permit = await hold.permit(pool, max_message_bytes, deadline, model=model)
        if permit is None:
            late = deadline is not None and asyncio.get_running_loop().time() >= deadline
            return _without_room(hold, model, late=late)
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await call.read()
                body = answer if isinstance(answer, bytes) else None
                hold.settle(pool, permit, len(body or b""))
                status = await status_of(call)
        except TimeoutError:
            return _ended(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"model '{model}': its server began an answer and did not end it within {_ANSWER_S:g} s",
            )
        except grpc.aio.AioRpcError as error:
            status = Status(error.code(), error.details() or "", forwarded(error.trailing_metadata() or ()))
            response = Response(initial, None, None, status)
            if not initial and is_not_there(status):
                raise NotThere(status.details, response) from None
            return response
        kept, permit = permit, None
        return Response(initial, body, kept, status)
    finally:
        if permit is not None:
            hold.release(pool, permit)
        if not call.done():
            call.cancel()


async def status_of(call: grpc.aio.Call) -> Status:
    """How the call ended; waits for that."""
    return Status(await call.code(), await call.details() or "", forwarded(await call.trailing_metadata()))


def _without_room(hold: Hold, model: str, *, late: bool) -> Response:
    pool = hold.budget.responses
    return _ended(
        grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"{pool.used} of {pool.total} bytes for responses are in use, {pool.used_by(model)} of them by model '{model}',"
        f" and {pool.line} wait: try again later",
    )


def _ended(code: grpc.StatusCode, details: str) -> Response:
    return Response((), None, None, Status(code, details, ()))
