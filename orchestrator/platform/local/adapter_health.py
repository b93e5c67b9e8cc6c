"""
What a pod's adapter answers on its health socket: where a kubelet would ask it in a cluster.

Who asks says what silence means to him: here it is an error.
"""

from __future__ import annotations

from pathlib import Path

import aiohttp


async def asked(socket: Path, path: str, timeout_s: float) -> tuple[int, str]:
    """The HTTP status and the text, without spaces around it. Raises aiohttp.ClientError or TimeoutError."""
    connector = aiohttp.UnixConnector(str(socket))
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with (
        aiohttp.ClientSession("http://pod", connector=connector, timeout=timeout) as session,
        session.get(path) as response,
    ):
        return response.status, (await response.text()).strip()
