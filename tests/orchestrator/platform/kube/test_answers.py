"""What answers of the API server mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.platform.kube.answers import (
    UNREADABLE,
    ApiUnreachable,
    error_of,
    error_of_status,
    event_of,
    object_of,
    page_of,
)
from orchestrator.platform.kube.nesting import MAX_DEPTH

LIST: dict[str, Any] = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": []}


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("header", "details", "seconds"),
    [
        ("3", None, 3.0),
        ("0.5", None, 0.5),
        (None, {"retryAfterSeconds": 4}, 4.0),
        ("2", {"retryAfterSeconds": 4}, 2.0),
        ("100000", None, 60.0),
        ("inf", None, 60.0),
        ("nan", None, None),
        ("-1", None, None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None, None),
        (None, {"retryAfterSeconds": "soon"}, None),
        (None, "?", None),
        (None, None, None),
    ],
)
def test_a_server_may_ask_to_be_left_alone(header: str | None, details: Any, seconds: float | None) -> None:
    """For a while that is bounded, in the header or in the Status."""
    headers = {} if header is None else {"Retry-After": header}
    error = error_of(429, headers, encoded({"kind": "Status", "details": details}))
    assert error.retry_after_s == seconds
    assert error.passing


def test_a_status_says_more_than_the_code() -> None:
    """The reason, the causes, the message; what it leaves out comes from the code."""
    raw = {
        "kind": "Status",
        "code": 504,
        "reason": "Timeout",
        "message": "Too large resource version: 9, current: 7",
        "details": {"causes": [{"reason": "ResourceVersionTooLarge"}, {}, "?"], "retryAfterSeconds": 1},
    }
    error = error_of(504, {}, encoded(raw))
    assert str(error) == "504 Timeout: Too large resource version: 9, current: 7"
    assert (error.expired, error.retry_after_s) == (True, 1.0)
    conflict = {"causes": [{"reason": "FieldManagerConflict", "field": ".spec.a"}, {"field": None}]}
    assert error_of(409, {}, encoded({"kind": "Status", "details": conflict})).fields == (".spec.a",)
    assert error_of(409, {}, encoded({"kind": "Status"})).reason == "Conflict"
    assert error_of(418, {}, encoded({"kind": "Status"})).reason == "Unknown"


@pytest.mark.parametrize(
    ("raw", "status", "expired"),
    [({"code": 410, "reason": "Expired"}, 410, True), ({}, 500, False), ({"code": "?"}, 500, False)],
)
def test_an_event_of_an_error_is_an_error(raw: dict[str, Any], status: int, expired: bool) -> None:
    """Its code is that of the Status; one without is no success either."""
    error = error_of_status(raw)
    assert (error.status, error.expired) == (status, expired)


def test_what_is_between_is_quoted_only_if_it_is_text() -> None:
    """And not more of it than a line of a log bears."""
    plain = {"Content-Type": "text/plain; charset=utf-8"}
    assert error_of(503, plain, b"no\n healthy  upstream").message == "no healthy upstream"
    assert len(error_of(503, plain, b"x" * 10_000).message) == 200
    assert error_of(503, plain, b"\xff\xfe").message
    assert error_of(503, {"Content-Type": "text/html"}, b"<p>secret").message == "an answer that is not a Status"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422])
def test_what_a_person_has_to_mend_does_not_pass(status: int) -> None:
    """Nor does what another has changed."""
    assert not error_of(status, {}, b"").passing


def test_only_what_somebody_reads_is_kept() -> None:
    """managedFields are a third of an object."""
    raw = {"kind": "Pod", "metadata": {"name": "a", "managedFields": [{}]}}
    slim = {"kind": "Pod", "metadata": {"name": "a"}}
    assert object_of(encoded(raw)) == slim
    assert event_of(encoded({"type": "ADDED", "object": raw})) == {"type": "ADDED", "object": slim}
    assert page_of(encoded({**LIST, "items": [raw]})).items == [{**slim, "apiVersion": "v1"}]


def deep(name: str, levels: int = 5_000) -> bytes:
    """An object as somebody may have created it whom the schema lets: with something nested, and a list and an event of it."""
    rest = b'"kind":"ServingRuntime","metadata":{"name":"%s","uid":"u","resourceVersion":"8","labels":{"a":"b"}}'
    return b'{%s,"spec":{"containers":[],"x":%s1%s}}' % (rest % name.encode(), b"[" * levels, b"]" * levels)


@pytest.mark.parametrize("levels", [200, 950, 5_000, 10_000])
def test_one_object_that_is_nested_too_deep_is_marked_and_hides_no_other(levels: int) -> None:
    """Whoever may create objects would else have no list of that kind come to an end for ever. Nobody reads the rest of it."""
    hostile, plain = deep("bad", levels), {"metadata": {"name": "a"}}
    bad = {
        "kind": "ServingRuntime",
        "metadata": {"name": "bad", "uid": "u", "resourceVersion": "8", "labels": {"a": "b"}},
        UNREADABLE: f"nested deeper than {MAX_DEPTH} levels",
    }
    assert object_of(hostile) == bad
    assert event_of(b'{"type":"ADDED","object":%s}' % hostile) == {"type": "ADDED", "object": bad}
    whole = encoded({**LIST, "items": ["BAD", plain]}).replace(b'"BAD"', hostile)
    assert [item["metadata"]["name"] for item in page_of(whole).items if UNREADABLE in item] == ["bad"]
    assert [item for item in page_of(whole).items if UNREADABLE not in item] == [
        {**plain, "apiVersion": "v1", "kind": "Pod"}
    ]


def test_who_manages_what_may_be_as_deep_as_it_is() -> None:
    """Nobody reads it."""
    fields = b'{"f:x":' * 5_000 + b"{}" + b"}" * 5_000
    raw = b'{"kind":"Pod","metadata":{"name":"a","managedFields":[{"fieldsV1":%s}]}}' % fields
    assert object_of(raw) == {"kind": "Pod", "metadata": {"name": "a"}}


def test_an_item_of_a_list_is_as_when_it_is_read_alone() -> None:
    """Lists of what is built in leave out what each of their items is; others do not."""
    item = {"metadata": {"name": "a"}}
    assert page_of(encoded({**LIST, "items": [item]})).items == [{**item, "kind": "Pod", "apiVersion": "v1"}]
    own = {**item, "kind": "TrainedModel", "apiVersion": "x/v1"}
    assert page_of(encoded({**LIST, "items": [own]})).items == [own]


def test_an_empty_list_may_be_null() -> None:
    """As a server written in Go says it."""
    assert page_of(encoded({**LIST, "items": None})).items == []


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Status"},
        {"kind": None},
        {"metadata": {}},
        {"metadata": None},
        {"metadata": {"resourceVersion": ""}},
        {"metadata": {"resourceVersion": "0"}},
        {"metadata": {"resourceVersion": 7}},
        {"items": {}},
        {"items": ["a"]},
        {"items": [{}]},
        {"items": [{"metadata": {"name": ""}}]},
    ],
)
def test_what_is_not_certainly_a_list_is_none(change: dict[str, Any]) -> None:
    """An empty list deletes things."""
    with pytest.raises(ApiUnreachable):
        page_of(encoded(LIST | change))
    with pytest.raises(ApiUnreachable):
        page_of(encoded({key: value for key, value in LIST.items() if key not in change}))


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'"text"', b"\xff", b"[" * 100_000])
def test_what_is_not_an_object_is_no_answer(body: bytes) -> None:
    """Whatever the status of HTTP was."""
    for parse in (object_of, page_of, event_of):
        with pytest.raises(ApiUnreachable):
            parse(body)
