"""
Logging: one JSON object a line, or a console rendering on a terminal.

Event names and fields are part of the product's surface: people grep for them.
A line is bounded, since container runtimes cut longer ones in two and neither
half is JSON: what is too long in it is shortened, and the line says so.

The level can change while the process runs. It is asked for at each event
rather than built into the loggers, because a logger that is bound to a stream
lives as long as the stream.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Final

import structlog

#: CRI's bound for one line of a container's output, 16 KiB, less the line's end.
LINE_LIMIT: Final = (16 << 10) - 1
#: Lengths that a field of a line that is too long is cut to, one after the other until the line fits.
_CUTS: Final = (2048, 512, 128)
_LEVELS: Final = logging.getLevelNamesMapping()
#: What identifies a line: kept whatever becomes of the rest.
_ESSENTIAL: Final = ("event", "level", "timestamp", "process", "trained_model", "pod", "runtime")


class _Threshold:
    """Drops what is below the level. Of this process, as structlog's configuration is."""

    def __init__(self) -> None:
        self.started = self.level = logging.INFO

    def __call__(self, _logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if _LEVELS.get(method.upper(), logging.CRITICAL) < self.level:
            raise structlog.DropEvent
        return event


_threshold: Final = _Threshold()


def configure_logs(level: str, *, process: str) -> None:
    """Once, first thing in each process. `process` is a field of every line: controller, activator, supervisor."""
    # Neither rendering shows locals with a traceback: they may hold credentials.
    formatter: structlog.typing.Processor
    renderer: structlog.typing.Processor
    if sys.stderr.isatty():
        formatter = structlog.processors.format_exc_info
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    else:
        formatter = structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
        renderer = _render
    _threshold.started = _threshold.level = _number(level)
    structlog.configure(
        processors=[
            _threshold,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            formatter,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(process=process)


def set_level(level: str) -> None:
    """From now on this level; "": the one that the process was started with. Raises KeyError for a word that is none."""
    wanted = _number(level) if level else _threshold.started
    if wanted != _threshold.level:
        _threshold.level = wanted
        # Warning, so that the line is there in most levels, and says what the missing ones are due to.
        structlog.get_logger(__name__).warning("log_level_changed", to=logging.getLevelName(wanted).lower())


def _number(level: str) -> int:
    return _LEVELS[level.upper()]


def _render(_logger: Any, _method: str, event: structlog.typing.EventDict) -> str:
    line = _json(event)
    for cut in _CUTS:
        if len(line) <= LINE_LIMIT:
            return line
        line = _json({"shortened": True} | {key: _cut(value, cut) for key, value in event.items()})
    if len(line) <= LINE_LIMIT:
        return line
    # So many fields that no length helps.
    return _json({"shortened": True} | {key: _cut(event[key], _CUTS[-1]) for key in _ESSENTIAL if key in event})


def _json(event: Any) -> str:
    # In ASCII, so that its length is its size.
    return json.dumps(event, default=repr)


def _cut(value: Any, cut: int) -> Any:
    """As it is if it is short, else the beginning of it, as text."""
    text = value if isinstance(value, str) else _json(value)
    # Measured as it is written: a control character takes six.
    if len(_json(text)) <= cut:
        return value
    while len(_json(text)) > cut:
        text = text[: len(text) // 2]
    return text + "..."
