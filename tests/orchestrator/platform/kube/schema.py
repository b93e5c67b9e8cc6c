"""
Whether an object has only fields that Kubernetes knows: the API server drops a misspelt one, and nothing tells.
"""

from __future__ import annotations

import re
from typing import Any

from kubernetes_asyncio.client import models


def unknown_fields(raw: Any, kind: str, path: str = "") -> list[str]:
    """Of an object of that model, such as V1Deployment: the paths of what it does not have."""
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        return [f for i, item in enumerate(raw) for f in unknown_fields(item, inner[1], f"{path}[{i}]")]
    if inner := re.fullmatch(r"dict\(\w+, (.+)\)|dict\[\w+, (.+)\]", kind):
        return [f for key, item in raw.items() for f in unknown_fields(item, inner[1] or inner[2], f"{path}.{key}")]
    model = getattr(models, kind, None)
    if model is None:
        return []
    fields = {name: model.openapi_types[attribute] for attribute, name in model.attribute_map.items()}
    found = [f"{path}.{key}" for key in raw if key not in fields]
    for key, value in raw.items():
        if key in fields:
            found += unknown_fields(value, fields[key], f"{path}.{key}")
    return found
