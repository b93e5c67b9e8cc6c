"""What the verbs print, to the character."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.cli.table import age, aligned, describe, models_table

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def make_item(
    name: str, *, ready: tuple[str, str] | None = ("True", "Loaded"), up_to_date: str = "", **fields: Any
) -> dict[str, Any]:
    """A model as the admin API gives it."""
    item: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "wml-serving", "creationTimestamp": "2026-01-01T11:55:00Z"},
        "spec": {"inferenceService": "", "model": {"storageUri": f"s3://models/{name}", "framework": "sklearn"}},
        "live": {"copies": []},
    }
    if ready is not None:
        condition = {
            "type": "Ready",
            "status": ready[0],
            "reason": ready[1],
            "message": "served by mlserver-0.x",
            "lastTransitionTime": "2026-01-01T11:58:30Z",
        }
        url = f"grpc://wml-serving:8033?mm-vmodel-id={name}"
        item["status"] = {"url": url, "runtime": "mlserver-0.x", "conditions": [condition]}
        if up_to_date:
            item["status"]["conditions"].append(condition | {"type": "UpToDate", "status": up_to_date})
    return item | fields


COPIES = {
    "idleSeconds": 125.5,
    "requestsPerSecond": 12.345,
    "copies": [
        {"pod": "mlserver-0.x-0", "revision": "r1", "state": "Loaded", "reservedBytes": 1048576},
        {"pod": "mlserver-0.x-1", "revision": "r0", "state": "Loading", "reservedBytes": 7},
    ],
}


def test_the_table_has_the_columns_of_the_crd() -> None:
    """A model that nobody has looked at yet has a line too."""
    assert models_table([make_item("digits"), make_item("x", ready=None)], wide=False, now=NOW) == (
        "NAME     URL                                           READY   AGE\n"
        "digits   grpc://wml-serving:8033?mm-vmodel-id=digits   True    5m\n"
        "x                                                              5m\n"
    )


def test_the_wide_table_adds_where_and_why_and_what_is_loaded() -> None:
    """A change that failed shows beside READY; copies and bytes are of those that are loaded; what is not is not idle."""
    items = [
        make_item("digits", live=COPIES, up_to_date="False"),
        make_item("x", ready=("False", "ModelNotFound"), up_to_date="Unknown"),
    ]
    lines = models_table(items, wide=True, now=NOW).splitlines()
    assert lines[0].split()[4:] == ["RUNTIME", "REASON", "UPTODATE", "COPIES", "BYTES", "IDLE", "REQ/S"]
    assert lines[1].split()[2:] == ["True", "5m", "mlserver-0.x", "Loaded", "False", "1", "1048576", "2m5s", "12.3"]
    assert lines[2].split()[2:] == [
        "False",
        "5m",
        "mlserver-0.x",
        "ModelNotFound",
        "Unknown",
        "0",
        "0",
        "<none>",
        "0.0",
    ]
    unseen = models_table([make_item("y", ready=None)], wide=True, now=NOW).splitlines()[1]
    assert unseen.split() == ["y", "5m", "<none>", "0", "0", "<none>", "0.0"]


def test_describe_lays_out_all_there_is() -> None:
    """Spec, conditions, copies, events, each with its age."""
    item = make_item(
        "digits",
        live=COPIES,
        events=[
            {
                "type": "Normal",
                "reason": "Loaded",
                "message": "served",
                "count": 1,
                "lastTimestamp": "2026-01-01T11:59:00Z",
            },
            {"type": "Warning", "reason": "X", "message": "why", "count": 3, "lastTimestamp": "2026-01-01T09:00:00Z"},
        ],
    )
    item["metadata"] |= {"uid": "u-1", "generation": 2}
    item["status"] |= {"activeRevision": "r1", "activeStorageUri": "s3://models/digits"}
    assert describe(item, NOW) == (
        "Name:               digits\n"
        "Namespace:          wml-serving\n"
        "UID:                u-1\n"
        "Created:            2026-01-01T11:55:00Z\n"
        "Generation:         2\n"
        "Storage URI:        s3://models/digits\n"
        "Framework:          sklearn\n"
        "URL:                grpc://wml-serving:8033?mm-vmodel-id=digits\n"
        "Runtime:            mlserver-0.x\n"
        "Active revision:    r1\n"
        "Active storage URI: s3://models/digits\n"
        "Conditions:\n"
        "  TYPE    STATUS   REASON   AGE   MESSAGE\n"
        "  Ready   True     Loaded   90s   served by mlserver-0.x\n"
        "Copies:\n"
        "  POD              STATE     REVISION   BYTES\n"
        "  mlserver-0.x-0   Loaded    r1         1048576\n"
        "  mlserver-0.x-1   Loading   r0         7\n"
        "Events:\n"
        "  TYPE      REASON   AGE       MESSAGE\n"
        "  Normal    Loaded   60s       served\n"
        "  Warning   X        3h (x3)   why\n"
    )


def test_describe_says_none_where_there_is_none() -> None:
    """A model that nobody has looked at yet."""
    lines = describe(make_item("digits", ready=None), NOW).splitlines()
    assert lines[-3:] == ["Conditions:         <none>", "Copies:             <none>", "Events:             <none>"]
    assert "Runtime:            <none>" in lines


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (599, "9m59s"),
        (600, "10m"),
        (179 * 60, "179m"),
        (3 * 3600, "3h"),
        (5 * 3600 + 30 * 60, "5h30m"),
        (8 * 3600 + 59, "8h"),
        (47 * 3600, "47h"),
        (50 * 3600, "2d2h"),
        (8 * 86400 + 3600, "8d"),
        (700 * 86400, "700d"),
        (3 * 365 * 86400 + 86400, "3y1d"),
        (9 * 365 * 86400 + 86400, "9y"),
    ],
)
def test_ages_are_kubectls(seconds: int, expected: str) -> None:
    """As `kubectl get` shortens them."""
    assert age((NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ"), NOW) == expected


@pytest.mark.parametrize("timestamp", ["", "yesterday", "2026-01-01T00:00:00"])
def test_an_age_that_cannot_be_told_is_unknown(timestamp: str) -> None:
    """No time zone is no time."""
    assert age(timestamp, NOW) == "<unknown>"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """And nothing trails."""
    assert aligned([["a", "b", ""], ["long", "c", "d"]]) == "a      b\nlong   c   d\n"
