"""
A moment as Kubernetes writes it: RFC 3339, UTC, whole seconds.
"""

from __future__ import annotations

from datetime import datetime


def timestamp(moment: datetime) -> str:
    """`moment` is in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
