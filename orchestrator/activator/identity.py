"""
Which model a request is for, and which of its metadata travel on.

The model is named by metadata `mm-vmodel-id` or `mm-vmodel-id-bin`, else by
field 1 of the message. Whatever is given more than once must be equal, an empty
value counts as none. The message is parsed by protobuf, which finds field 1
wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from google.protobuf.message import DecodeError

from protos import inference_pb2

Metadata = Iterable[tuple[str, str | bytes]]

_ID: Final = "mm-vmodel-id"
_ID_BIN: Final = "mm-vmodel-id-bin"

#: How much of a name that is none is repeated to its sender.
_SHOWN: Final = 80

#: What belongs to the connection that a request came by, or to gRPC itself.
_HOP: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_HOP_PREFIXES: Final = ("grpc-", "x-envoy-", ":")
#: The one name of gRPC's own that carries an application's words.
_STATUS_DETAILS: Final = "grpc-status-details-bin"
#: What gRPC takes as a key, and as the value of a key without -bin.
_KEY: Final = re.compile(r"[a-z0-9_.-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")


class BadIdentity(Exception):
    """The request does not name one model; the text is for its sender."""


def named_in_metadata(metadata: Metadata) -> str:
    """The model that the metadata name, '' if they name none. Raises BadIdentity if they contradict themselves."""
    named = ""
    for key, value in metadata:
        if key != _ID and key != _ID_BIN:
            continue
        try:
            name = value if isinstance(value, str) else value.decode()
        except UnicodeDecodeError:
            raise BadIdentity(f"metadata {key} is not UTF-8") from None
        if name and named and name != named:
            raise BadIdentity(f"metadata name two models, '{shown(named)}' and '{shown(name)}'")
        named = name or named
    return named


def named_in_message(message: bytes) -> str:
    """The model in field 1, '' if it is not set. Raises BadIdentity if it cannot be read."""
    try:
        return inference_pb2.ModelName.FromString(message).name
    except DecodeError:
        raise BadIdentity("the message is not one of inference.GRPCInferenceService") from None


def agreed(message: bytes, told: str) -> bytes:
    """
    The message to forward for the model that the metadata told.

    One that names no model is completed: the server knows no metadata. Raises
    BadIdentity if it names another.
    """
    named = named_in_message(message)
    if named == told:
        return message
    if named:
        raise BadIdentity(f"metadata mm-vmodel-id names model '{shown(told)}', the message '{shown(named)}'")
    return inference_pb2.ModelName(name=told).SerializeToString() + message


def shown(name: str) -> str:
    """A name as a message repeats it: not too much of it."""
    return name if len(name) <= _SHOWN else name[:_SHOWN] + "…"


def forwarded(metadata: Metadata) -> tuple[tuple[str, str | bytes], ...]:
    """What goes on with a request or a response: all but what belongs to a connection, or what gRPC would refuse."""
    return tuple(
        (key, value)
        for key, value in metadata
        if key not in _HOP
        and (not key.startswith(_HOP_PREFIXES) or key == _STATUS_DETAILS)
        and _KEY.fullmatch(key)
        and (key.endswith("-bin") or (isinstance(value, str) and _VALUE.fullmatch(value)))
    )


def is_retry(metadata: Metadata) -> bool:
    """Whether the mesh sent the request here after an attempt elsewhere: the route that it has is stale."""
    return any(key == "x-envoy-attempt-count" and value not in ("", "0", "1") for key, value in metadata)
