"""Log lines, as a file and as a person gets them."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from orchestrator.machinery.logs import LINE_LIMIT, _render, configure_logs, set_level
from tests.properties import examples

pytestmark = pytest.mark.usefixtures("own_logs")


def fail() -> None:
    secret_access_key = "hunter" * 2
    raise ValueError(f"too long: {len(secret_access_key)}")


def speak() -> None:
    """A line of each kind."""
    log = structlog.get_logger("test")
    log.debug("not_shown")
    log.info("route_published", trained_model="digits", endpoints=["h:1"])
    try:
        fail()
    except ValueError:
        log.exception("reconcile_failed", trained_model="digits")


def test_a_file_gets_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Event, fields, level, time, process; a traceback is data, and shows no locals."""
    configure_logs("info", process="controller")
    speak()
    out, err = capsys.readouterr()
    lines: list[dict[str, Any]] = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [(line["event"], line["level"], line["process"]) for line in lines] == [
        ("route_published", "info", "controller"),
        ("reconcile_failed", "error", "controller"),
    ]
    assert lines[0]["endpoints"] == ["h:1"]
    assert lines[0]["timestamp"].endswith("Z")
    assert lines[1]["exception"][0]["exc_value"] == "too long: 12"
    assert "hunterhunter" not in err


def test_a_terminal_gets_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same events, readable; no locals either."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure_logs("INFO", process="controller")
    speak()
    err = capsys.readouterr().err
    assert "route_published" in err
    assert "ValueError: too long: 12" in err
    assert "hunterhunter" not in err
    assert "not_shown" not in err


def test_a_level_that_is_none_is_refused() -> None:
    """At the start, not at the first line."""
    with pytest.raises(KeyError):
        configure_logs("loud", process="controller")


def events(err: str) -> list[str]:
    return [json.loads(line)["event"] for line in err.splitlines()]


def test_the_level_changes_for_loggers_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Also for one that was bound before, down and up, and back to that of the start."""
    configure_logs("info", process="controller")
    bound = structlog.get_logger("test").bind(pod="mesh-0")
    bound.debug("one")
    set_level("debug")
    bound.debug("two")
    set_level("error")
    bound.warning("three")
    try:
        fail()
    except ValueError:
        bound.exception("four")
    set_level("")
    bound.debug("five")
    bound.info("six")
    told = events(capsys.readouterr().err)
    assert [event for event in told if event != "log_level_changed"] == ["two", "four", "six"]


def test_a_level_that_stays_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    """And a word that is no level changes nothing."""
    configure_logs("warning", process="controller")
    set_level("warning")
    set_level("")
    with pytest.raises(KeyError):
        set_level("loud")
    structlog.get_logger("test").info("not_shown")
    assert capsys.readouterr().err == ""


@given(
    st.dictionaries(
        st.sampled_from(["message", "endpoints", "error", "problem"]),
        st.one_of(
            st.text(max_size=20_000),
            st.lists(st.text(max_size=300), max_size=300),
            st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=3), st.integers(1, 30_000)),
        ),
    )
)
@examples(50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_line_is_json_and_no_longer_than_what_a_container_may_write(fields: dict[str, Any]) -> None:
    """Whatever a store or a server says; and it still tells what it is about."""
    line = _render(None, "info", {"event": "copy_failed", "level": "info", "trained_model": "digits", **fields})
    assert len(line.encode()) <= LINE_LIMIT
    read = json.loads(line)
    assert (read["event"], read["trained_model"]) == ("copy_failed", "digits")
    if "shortened" not in read:
        assert {key: read[key] for key in fields} == fields


def test_many_fields_are_dropped_for_those_that_say_what_it_is() -> None:
    """No length of each would do."""
    line = _render(None, "info", {"event": "odd", "pod": "p", **{f"field-{n}": "x" * 100 for n in range(1000)}})
    assert json.loads(line) == {"shortened": True, "event": "odd", "pod": "p"}
