"""
What the API server's answers mean: objects, lists, and errors. Pure.

Objects stay the dicts that JSON gives, less `managedFields`, which nobody here
reads and which are a third of an object. Items of a list get the apiVersion and
kind that the server leaves out of them, so that they equal what a watch says.
Of one that is nested too deep nothing is left but its identity, and a mark.

Not promised: that an error's text is short of nothing. What is not a Status of
Kubernetes comes from something in between, and is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from orchestrator.platform.kube.nesting import MAX_DEPTH, parsed, too_deep

Raw = dict[str, Any]

#: In an object that cannot be read, beside its identity: why.
UNREADABLE: Final = "!unreadable"

#: What is left of its metadata, beside labels and annotations.
_IDENTITY: Final = frozenset({"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"})

#: How much of a text that is not a Status is kept.
_TEXT_LIMIT: Final = 200
#: The longest that a server may ask to be left alone.
_PATIENCE_S: Final = 60.0
#: Reasons by status, where the answer has none; as the API server names them.
_REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(Exception):
    """The server answered, and not with success: nothing was changed, as far as it knows (a 5xx may be in doubt)."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        retry_after_s: float | None = None,
        causes: frozenset[str] = frozenset(),
        fields: tuple[str, ...] = (),
    ) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        #: Reasons of the details, such as ResourceVersionTooLarge.
        self.causes = causes
        #: What the details name, such as the fields of a conflict: `.spec.replicas`.
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.message}"

    @property
    def expired(self) -> bool:
        """The resource version that was asked for is gone, or not there yet: only a list without one helps."""
        return self.status == HTTPStatus.GONE or "ResourceVersionTooLarge" in self.causes

    @property
    def passing(self) -> bool:
        """The same request may succeed in a while, without anybody's doing."""
        return self.status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS} or self.status >= 500


class ApiUnreachable(Exception):
    """No answer, or not all of it, or one that makes no sense: nothing is known of what happened."""


class AnswerTooLarge(ApiUnreachable):
    """More than is held of one answer. Less may be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListResult:
    """A complete list, as of one version."""

    items: list[Raw]
    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a list."""

    items: list[Raw]
    resource_version: str
    #: What continues it; empty: it was the last.
    more: str


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """What an answer without success says. `headers` has names in any case."""
    details: Raw = {}
    try:
        said = parsed(body)
    except ValueError:
        said = None
    if isinstance(said, dict) and said.get("kind") == "Status":
        return error_of_status(said, status=status, retry_after=headers.get("Retry-After"))
    # Text of something in between, such as a load balancer; a body that is not meant for people is not shown.
    plain = headers.get("Content-Type", "").startswith("text/plain")
    first = body[: _TEXT_LIMIT * 4].decode(errors="replace").strip()[:_TEXT_LIMIT] if plain else ""
    message = " ".join(first.split()) or "an answer that is not a Status"
    return ApiError(status, _reason(status), message, retry_after_s=_seconds(headers.get("Retry-After"), details))


def error_of_status(raw: Raw, *, status: int | None = None, retry_after: str | None = None) -> ApiError:
    """What a Status object says: the body of an error, or the object of an ERROR event."""
    details = raw.get("details")
    details = details if isinstance(details, dict) else {}
    causes = details.get("causes")
    causes = [cause for cause in (causes if isinstance(causes, list) else ()) if isinstance(cause, dict)]
    code = status or raw.get("code")
    code = code if isinstance(code, int) else 500
    return ApiError(
        code,
        str(raw.get("reason") or "") or _reason(code),
        str(raw.get("message") or "")[:2048],
        retry_after_s=_seconds(retry_after, details),
        causes=frozenset(str(cause.get("reason")) for cause in causes),
        fields=tuple(str(cause["field"]) for cause in causes if cause.get("field")),
    )


def object_of(body: bytes) -> Raw:
    """Raises ApiUnreachable."""
    return _slim(_mapping(body))


def page_of(body: bytes) -> Page:
    """
    A part of a list. Raises ApiUnreachable.

    Whatever is not certainly a list is no answer: an empty list deletes things.
    """
    raw = _mapping(body)
    kind, metadata = raw.get("kind"), raw.get("metadata")
    # An empty list of a server written in Go may read null.
    items = raw.get("items", False)
    items = [] if items is None else items
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(metadata, dict) and isinstance(items, list)):
        raise ApiUnreachable(f"an answer that is not a list but {kind}")
    version = metadata.get("resourceVersion")
    if not isinstance(version, str) or version in {"", "0"}:
        raise ApiUnreachable(f"a list of version {version!r}, which is none")
    for item in items:
        if not has_name(item):
            raise ApiUnreachable("a list with an item that is not an object")
        _slim(item)
        item.setdefault("apiVersion", raw.get("apiVersion"))
        item.setdefault("kind", kind.removesuffix("List"))
    return Page(items=items, resource_version=version, more=str(metadata.get("continue") or ""))


def event_of(line: bytes) -> Raw:
    """A watch event. Raises ApiUnreachable."""
    event = _mapping(line)
    if not isinstance(event.get("type"), str) or not isinstance(event.get("object"), dict):
        raise ApiUnreachable("a watch event without a type or an object")
    _slim(event["object"])
    return event


def has_name(raw: object) -> bool:
    """Whether it is an object with an identity."""
    return isinstance(raw, dict) and isinstance(raw.get("metadata"), dict) and bool(raw["metadata"].get("name"))


def unreadable(raw: Raw, why: str) -> Raw:
    """What is left of an object that cannot be read: which it is and whose, and the mark. It is there all the same."""
    known = {name: raw[name] for name in ("apiVersion", "kind") if isinstance(raw.get(name), str)}
    metadata = raw.get("metadata")
    entries = metadata.items() if isinstance(metadata, dict) else ()
    return known | {"metadata": {name: value for name, value in entries if _plain(name, value)}, UNREADABLE: why}


def _plain(name: str, value: object) -> bool:
    if name in {"labels", "annotations"}:
        return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    return name in _IDENTITY and isinstance(value, str)


def _mapping(body: bytes) -> Raw:
    try:
        said = parsed(body)
    except ValueError as error:
        raise ApiUnreachable(f"an answer that is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise ApiUnreachable(f"an answer that is not an object but {type(said).__name__}")
    return said


def _slim(raw: Raw) -> Raw:
    metadata = raw.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop("managedFields", None)
    if too_deep(raw):
        left = unreadable(raw, f"nested deeper than {MAX_DEPTH} levels")
        raw.clear()
        raw |= left
    return raw


def _reason(status: int) -> str:
    return _REASONS.get(status, "Unknown")


def _seconds(retry_after: str | None, details: Raw) -> float | None:
    """Retry-After as seconds; its other form is a date, which nobody sends here."""
    for said in (retry_after, details.get("retryAfterSeconds")):
        try:
            seconds = float(said or 0)
        except (TypeError, ValueError):
            continue
        if seconds > 0:
            return min(seconds, _PATIENCE_S)
    return None
