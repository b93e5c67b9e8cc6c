"""
Logging: one JSON object a line, or a console rendering on a terminal.

Event names and fields are part of the product's surface: people grep for them.
"""

from __future__ import annotations

import logging
import sys

import structlog


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
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            formatter,
            renderer,
        ],
        wrapper_class=_filtering(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(process=process)


def set_log_level(level: str) -> None:
    """While the process runs: lines of all loggers from now on."""
    structlog.configure(wrapper_class=_filtering(level))


def _filtering(level: str) -> type[structlog.typing.FilteringBoundLogger]:
    return structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])
