"""
Envoy's own refusals, in the statuses and words that gRPC's clients expect.

Without this Envoy answers with an HTTP status, which gRPC's clients read as
INTERNAL or UNAVAILABLE for a bound, and UNKNOWN for an outage. Answers of servers
and the activator pass unchanged.
"""

from __future__ import annotations

from typing import Final

from orchestrator.mesh.lua import ROOM_HEADER
from orchestrator.mesh.upstream import WINDOW_BYTES, Config

_UNAVAILABLE: Final = 14
_RESOURCE_EXHAUSTED: Final = 8


def local_replies(*, max_message_bytes: int, per_model: int, per_activator: int) -> Config:
    """The mapping, for the connection manager. `per_model` and `per_activator` bound requests at one time."""
    return {
        "mappers": [
            _said(
                _RESOURCE_EXHAUSTED,
                # The message outgrew its room (room.py).
                {"and_filter": {"filters": [_http_status(413, "mesh.no_room"), _has(ROOM_HEADER)]}},
                "there is no room just now to collect a message that does not say in metadata whom it is for, and of"
                " which %BYTES_RECEIVED% bytes came already: name the model in mm-vmodel-id, or try again later",
            ),
            _said(
                _RESOURCE_EXHAUSTED,
                _http_status(413, "mesh.too_large"),
                f"the message is larger than the limit of {max_message_bytes} bytes: at least %BYTES_RECEIVED% bytes came",
            ),
            _said(
                _RESOURCE_EXHAUSTED,
                # A cluster's circuit breaker.
                {"response_flag_filter": {"flags": ["UO"]}},
                f"at most {per_model} requests for one model, and {per_activator} for models that are not"
                " loaded, are held or on their way: try again later",
            ),
            _said(
                _UNAVAILABLE,
                # The request was to be sent again, and is larger than what Envoy keeps for a retry.
                _http_status(507, "mesh.not_kept"),
                f"there is nobody to hold this request just now, and more than {WINDOW_BYTES} bytes are not kept:"
                " try again",
            ),
            _said(
                _UNAVAILABLE,
                # The request outgrew that bound during an attempt, or the attempts are used up.
                {"response_flag_filter": {"flags": ["UF", "UH"]}},
                "there is nobody to hold this request just now (%LOCAL_REPLY_BODY%): try again",
            ),
        ]
    }


def _http_status(status: int, runtime_key: str) -> Config:
    comparison = {"op": "EQ", "value": {"default_value": status, "runtime_key": runtime_key}}
    return {"status_code_filter": {"comparison": comparison}}


def _has(header: str) -> Config:
    return {"header_filter": {"header": {"name": header, "present_match": True}}}


def _said(status: int, condition: Config, text: str) -> Config:
    return {
        "filter": condition,
        "headers_to_add": [
            {"header": {"key": "grpc-status", "value": str(status)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
        "body_format_override": {"text_format_source": {"inline_string": text}},
    }
