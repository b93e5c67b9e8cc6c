"""
The S3 library's HTTP session, with bounded answers and verified certificates.

The library reads every answer that is not an object's content into memory,
whole. A listing or an error that never ends would take the adapter down, and with
it every download under way: here such an answer is cut off. And here a store's
certificate is verified, with its host name, which the library does not do.
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
    """The library's own HTTP session, but answers in memory are bounded, and stores' certificates verified."""

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
        """Send a request. An object's content is left to be read from the stream; any other answer is read here."""
        is_content, request.stream_output = request.stream_output, True
        response = await self._inner.send(request)
        if is_content and response.status_code < 300:
            return response
        try:
            # The library looks here before it would read the answer itself.
            response._content = await self._read(response.raw)
        except aiohttp.ServerTimeoutError as error:
            raise ReadTimeoutError(endpoint_url=request.url, error=error) from None
        except aiohttp.ClientError as error:
            raise ConnectionClosedError(endpoint_url=request.url, request=request, error=error) from None
        return response

    def _connector(self, proxy_url: str | None) -> aiohttp.TCPConnector:
        """
        The connector that the library makes for a proxy (None: without one), with another TLS context.

        The library's context requires no certificate behind a proxy, and elsewhere does not check its host name: it
        leaves that to urllib3, which is not used here.
        """
        library = self._inner
        context = library._get_ssl_context()
        context.check_hostname = True
        # An empty AWS_CA_BUNDLE counts as none set, not as a wish to trust everybody.
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
