"""A user is named for servers where nobody else does; who that is, is asked until it is known. On a real cluster: tests/cluster."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from orchestrator.platform.kube import runtime_user as module
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.runtime_user import UNPRIVILEGED, runtime_user
from tests.orchestrator.platform.kube.fake_api import Answer, FakeApi, Lost


async def test_on_openshift_nobody_is_named(fake: FakeApi, api: KubeApi) -> None:
    """It refuses a pod that names a user of its own."""
    fake.groups.add("security.openshift.io")
    assert await runtime_user(api) is None


async def test_elsewhere_one_that_is_not_root(api: KubeApi) -> None:
    """An image's user may be root, and then its containers are not started."""
    assert await runtime_user(api) == UNPRIVILEGED > 0


async def test_no_answer_decides_nothing(fake: FakeApi, api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pods are replaced when the user changes: it is asked again, and said once of each problem."""
    monkeypatch.setattr(module, "Backoff", lambda *_: _AtOnce())
    fake.groups.add("security.openshift.io")
    busy = Answer(503, "busy", "text/plain")
    for fault in (Lost(after=5), busy, busy):
        fake.once(fault)
    with capture_logs() as logs:
        assert await runtime_user(api) is None
    assert [(line["event"], line["again"]) for line in logs] == [("api_groups_unknown", True)] * 2
    assert len(fake.calls) == 4


async def test_a_refusal_names_nobody(fake: FakeApi, api: KubeApi) -> None:
    """A leader that waits for a right that nobody gives would lead nobody."""
    fake.once(Answer(403, {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"}))
    with capture_logs() as logs:
        assert await runtime_user(api) is None
    assert [(line["event"], line["again"]) for line in logs] == [("api_groups_unknown", False)]


class _AtOnce:
    def next(self) -> float:
        return 0.0
