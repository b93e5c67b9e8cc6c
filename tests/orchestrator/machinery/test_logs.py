"""Log lines, as a file and as a person gets them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from orchestrator.machinery.logs import configure_logs, set_log_level


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Logging is global: other tests keep theirs."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


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


def test_the_level_can_be_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """For loggers that are in use, too; the rest of a line is as it was."""
    configure_logs("info", process="controller")
    log = structlog.get_logger("test")
    log.debug("not_yet")
    set_log_level("debug")
    log.debug("now")
    set_log_level("error")
    log.info("no_more")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["process"]) for line in lines] == [("now", "controller")]
