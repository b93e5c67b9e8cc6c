"""What is asked of the API server, as a scrape reads it."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from orchestrator.platform.kube.api import ApiError, KubeApi
from orchestrator.platform.kube.counts import KubeCounts
from orchestrator.platform.kube.paths import core
from tests.orchestrator.platform.kube.fake_api import fake_api
from tests.web import answering


def test_an_answer_that_did_not_come_counts_beside_those_that_did() -> None:
    """By verb and status."""
    counts = KubeCounts()
    for status in (200, 200, 409, None):
        counts.requested("patch", status)
    requests = counts.figures()[0]
    assert (requests.name, requests.labels) == ("wml_kube_requests", ("verb", "code"))
    assert requests.samples == {("patch", "200"): 2, ("patch", "409"): 1, ("patch", "unreachable"): 1}


def test_the_ends_of_certificates_are_shown() -> None:
    """The latest word on each."""
    counts = KubeCounts()
    counts.expires("mesh", 1.0)
    counts.expires("mesh", 2.0)
    assert counts.figures()[2].samples == {("mesh",): 2.0}


async def test_a_session_is_counted_by_its_answers() -> None:
    """Refused and accepted, watches apart; nobody at the port, and one who says nothing."""
    counts = KubeCounts()
    silence = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/silent":
            await silence.wait()
        return web.Response(status=409 if request.method == "PUT" else 200)

    async with aiohttp.ClientSession(trace_configs=[counts.trace()]) as session:
        async with answering(answer) as url:
            for method, path in (("GET", "/a"), ("GET", "/a?watch=1"), ("PUT", "/a")):
                async with session.request(method, url + path):
                    pass
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), session.delete(f"{url}/silent"):
                    pass
            silence.set()
        with pytest.raises(aiohttp.ClientError):
            async with session.patch(f"{url}/a"):
                pass
    assert counts.figures()[0].samples == {
        ("get", "200"): 1,
        ("watch", "200"): 1,
        ("put", "409"): 1,
        ("delete", "unreachable"): 1,
        ("patch", "unreachable"): 1,
    }


async def test_the_client_takes_the_trace() -> None:
    """What goes through it is counted, errors too; a list is one again if the same was listed before, page by page."""
    counts = KubeCounts()
    async with fake_api() as fake, KubeApi(fake.url, trace=counts.trace()) as api:
        for number in range(3):
            fake.store.put(core("pods", "ns", f"p{number}"), {})
        with pytest.raises(ApiError):
            await api.get(core("pods", "ns", "nobody"))
        for selector in ({}, {"labelSelector": "a=b"}, {}):
            await api.list(core("pods", "ns"), {"limit": "2", **selector})
        await api.list(core("configmaps", "ns"))
    requests, relists, _ = counts.figures()
    assert requests.samples[("get", "404")] == 1
    assert requests.samples[("list", "200")] == 1 + 2 + 1 + 2
    assert relists.samples == {("pods",): 1, ("configmaps",): 0}
