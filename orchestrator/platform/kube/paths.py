"""
Paths of the Kubernetes API, as it lays them out: collection, object, subresource.

Names are checked, not escaped: a name of Kubernetes needs no escaping, and one
that does is no name. Whoever builds a path from what somebody else wrote gets
an error instead of another object.
"""

from __future__ import annotations

import re

_GROUP = re.compile(r"[a-z0-9.-]+/v[a-z0-9]+")
_SEGMENT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def core(resource: str, namespace: str | None, name: str | None = None, sub: str | None = None) -> str:
    """`core("pods", "ns", "a")`: of the group without a name. Namespace None: cluster-scoped."""
    return _path("/api/v1", resource, namespace, name, sub)


def group(version: str, resource: str, namespace: str | None, name: str | None = None, sub: str | None = None) -> str:
    """`group("apps/v1", "deployments", "ns", "a", "scale")`. Namespace None: cluster-scoped."""
    if not _GROUP.fullmatch(version):
        raise ValueError(f"{version!r} is no apiVersion of a named group")
    return _path(f"/apis/{version}", resource, namespace, name, sub)


def _path(root: str, resource: str, namespace: str | None, name: str | None, sub: str | None) -> str:
    if sub is not None and name is None:
        raise ValueError(f"{sub} of no object")
    segments = (*(() if namespace is None else ("namespaces", namespace)), resource)
    segments += tuple(segment for segment in (name, sub) if segment is not None)
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            raise ValueError(f"{segment!r} is no name in a path")
    return "/".join((root, *segments))
