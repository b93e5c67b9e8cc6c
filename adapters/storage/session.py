"""
HTTP as the S3 library wants it, but for answers without an end.

The library reads every answer that is not an object's content into memory,
whole. A listing or an error that never ends would take the adapter down, and
with it every download under way: here such an answer is cut off. And who a
store is has to be proven here, which the library leaves undone.
"""

from __future__ import annotations

from typing import Any, Self

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.httpsession import get_cert_path

from adapters.domain.copies import Reason
from adapters.domain.errors import LoadFailure


class BoundedSession:
    """What the library calls an HTTP session: its own, with a bound on what is read, and stores that prove who they are."""

    def __init__(self, answer_bytes: int, **options: Any) -> None:
        self._inner: Any = AIOHTTPSession(**options)
        self._inner._create_connector = self._connector
        self._answer_bytes = answer_bytes

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._inner.__aexit__(*exc)

    async def close(self) -> None:
        """Close the connections."""
        await self._inner.close()

    async def send(self, request: Any) -> Any:
        """One request. What is content is left to be read, of all else the answer has it."""
        is_content, request.stream_output = request.stream_output, True
        response = await self._inner.send(request)
        if is_content and response.status_code < 300:
            return response
        try:
            # Where the library looks before it reads by itself.
            response._content = await self._read(response.raw)
        except aiohttp.ServerTimeoutError as error:
            raise ReadTimeoutError(endpoint_url=request.url, error=error) from None
        except aiohttp.ClientError as error:
            raise ConnectionClosedError(endpoint_url=request.url, request=request, error=error) from None
        return response

    def _connector(self, proxy_url: str | None) -> aiohttp.TCPConnector:
        """
        What the library makes for each proxy, or for none, but for its context.

        Behind a proxy it asks no store for a certificate, and elsewhere does not look whose one is: it leaves that to
        urllib3, which is not there.
        """
        library = self._inner
        context = library._get_ssl_context()
        context.check_hostname = True
        # An AWS_CA_BUNDLE that is empty is none, and no wish to trust everybody.
        context.load_verify_locations(get_cert_path(library._verify or True))
        return aiohttp.TCPConnector(limit=library._max_pool_connections, ssl=context, **library._connector_args)

    async def _read(self, raw: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async with raw:
            async for chunk in raw.content.iter_any():
                content += chunk
                if len(content) > self._answer_bytes:
                    problem = f"the store's answer has more than {self._answer_bytes} bytes where a few would do"
                    raise LoadFailure.because(Reason.STORAGE_UNAVAILABLE, problem)
        return bytes(content)
