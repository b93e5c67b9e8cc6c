"""
What the user's verbs print: kubectl's tables, from the admin API's JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any


def models_table(items: Iterable[Mapping[str, Any]], *, wide: bool, now: datetime) -> str:
    """NAME URL READY AGE, and with `wide` RUNTIME REASON UPTODATE COPIES BYTES IDLE REQ/S; ends with a newline."""
    header = ["NAME", "URL", "READY", "AGE"]
    if wide:
        header += ["RUNTIME", "REASON", "UPTODATE", "COPIES", "BYTES", "IDLE", "REQ/S"]
    rows = [header]
    for item in items:
        metadata, status = item["metadata"], item.get("status") or {}
        ready = condition(item, "Ready")
        row = [
            metadata["name"],
            status.get("url") or "",
            ready.get("status", ""),
            age(metadata.get("creationTimestamp", ""), now),
        ]
        if wide:
            live = item.get("live", {})
            loaded = [c for c in live.get("copies", []) if c["state"] == "Loaded"]
            idle = live.get("idleSeconds")
            row += [
                status.get("runtime") or "<none>",
                ready.get("reason", ""),
                condition(item, "UpToDate").get("status", ""),
                str(len(loaded)),
                str(sum(c["reservedBytes"] for c in loaded)),
                "<none>" if idle is None else duration(idle),
                f"{live.get('requestsPerSecond', 0.0):.1f}",
            ]
        rows.append(row)
    return aligned(rows)


def describe(item: Mapping[str, Any], now: datetime) -> str:
    """Name, spec, conditions, copies and events of one model, as `kubectl describe` lays them out."""
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    model = spec.get("model") or {}
    lines = [
        f"Name:               {metadata['name']}",
        f"Namespace:          {metadata.get('namespace', '')}",
        f"UID:                {metadata.get('uid', '')}",
        f"Created:            {metadata.get('creationTimestamp', '')}",
        f"Generation:         {metadata.get('generation', '')}",
        f"Storage URI:        {model.get('storageUri', '')}",
        f"Framework:          {model.get('framework', '')}",
        f"URL:                {status.get('url', '')}",
        f"Runtime:            {status.get('runtime', '') or '<none>'}",
        f"Active revision:    {status.get('activeRevision', '') or '<none>'}",
        f"Active storage URI: {status.get('activeStorageUri', '') or '<none>'}",
    ]
    conditions = [
        [f"  {c['type']}", c["status"], c["reason"], age(c["lastTransitionTime"], now), c["message"]]
        for c in status.get("conditions") or []
    ]
    lines += _section("Conditions:", ["  TYPE", "STATUS", "REASON", "AGE", "MESSAGE"], conditions)
    copies = [
        [f"  {c['pod']}", c["state"], c["revision"], str(c["reservedBytes"])]
        for c in item.get("live", {}).get("copies", [])
    ]
    lines += _section("Copies:", ["  POD", "STATE", "REVISION", "BYTES"], copies)
    events = [[f"  {e['type']}", e["reason"], _event_age(e, now), e["message"]] for e in item.get("events") or []]
    lines += _section("Events:", ["  TYPE", "REASON", "AGE", "MESSAGE"], events)
    return "\n".join(lines) + "\n"


def condition(item: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of that type; empty if there is none."""
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c.get("type") == kind), {})


def age(timestamp: str, now: datetime) -> str:
    """How long ago an RFC 3339 time was."""
    try:
        return duration((now - datetime.fromisoformat(timestamp)).total_seconds())
    except (ValueError, TypeError):
        return "<unknown>"


def duration(seconds: float) -> str:
    """As kubectl shortens it: 45s, 3m20s, 5h30m, 4d2h, 90d."""
    seconds = max(0, int(seconds))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 2 * 365:
        return f"{days}d"
    return _two(days // 365, "y", days % 365 if days < 8 * 365 else 0, "d")


def _two(large: int, unit: str, small: int, subunit: str) -> str:
    return f"{large}{unit}{small}{subunit}" if small else f"{large}{unit}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell plus three spaces, nothing after the last."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def _section(title: str, header: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return [f"{title:<20}<none>"]
    return [title, *aligned([header, *rows]).rstrip("\n").split("\n")]


def _event_age(event: Mapping[str, Any], now: datetime) -> str:
    last = age(event["lastTimestamp"], now)
    return last if event["count"] == 1 else f"{last} (x{event['count']})"
