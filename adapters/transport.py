"""
Mutual TLS for the fleet protocol: certificate files that a kubelet keeps, and the one role that may call.

Every new connection uses the files as they are at that moment, so that no
connection has to end for a new certificate. The handshake checks that a trusted
authority signed the caller's certificate; the caller's role is checked at each
call.

Files that do not fit together (while they are being written, for example) are
never used: the ones before stay in use.
"""

from __future__ import annotations

import inspect
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import structlog

log = structlog.get_logger(__name__)

#: The DNS name in the certificate of a process that may command an adapter.
ORCHESTRATOR: Final = "orchestrator"

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class IdentityFiles:
    """tls.crt, tls.key and ca.crt of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._paths = tuple(directory / name for name in ("tls.crt", "tls.key", "ca.crt"))
        self._seen: tuple[tuple[int, int, int], ...] = ()
        self._problem = ""

    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`. Raises OSError if files are missing, ssl.SSLError if they are no identity."""
        self._seen, first = self._look(), self._read()
        return grpc.dynamic_ssl_server_credentials(first, self._newer, require_client_authentication=True)

    # Returns None for no change, which gRPC's type annotations do not have.
    def _newer(self) -> Any:
        """The credentials for the next connection; called from gRPC's threads."""
        try:
            look = self._look()
            if look == self._seen:
                return None
            read = self._read()
            if self._look() != look:
                return None
        except OSError as error:
            # The library's error texts are about structure: they hold nothing of the files' content.
            if self._problem != str(error):
                self._problem = str(error)
                log.warning("identity_unreadable", directory=self._directory, error=self._problem)
            return None
        self._seen, self._problem = look, ""
        log.info("identity_read", directory=self._directory)
        return read

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        stats = [os.stat(path) for path in self._paths]
        return tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in stats)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        certificate, key, authorities = self._paths
        check = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        check.load_cert_chain(certificate, key)
        check.load_verify_locations(authorities)
        return grpc.ssl_server_certificate_configuration(
            [(key.read_bytes(), certificate.read_bytes())], root_certificates=authorities.read_bytes()
        )


class OnlyOrchestrators(grpc.aio.ServerInterceptor):
    """Lets orchestrators call, and answers all others PERMISSION_DENIED."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            # A method that is not served.
            return None
        # The fleet protocol has calls of these two kinds.
        serve: Any = handler.unary_stream or handler.unary_unary

        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            await _check(context)
            answers = serve(request, context)
            try:
                async for answer in answers:
                    yield answer
            finally:
                await answers.aclose()

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            await _check(context)
            return await serve(request, context)

        if inspect.isasyncgenfunction(serve):
            return grpc.unary_stream_rpc_method_handler(
                stream, handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)


async def _check(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    roles = [name.decode(errors="replace") for name in context.auth_context().get("peer_dns", ())]
    if ORCHESTRATOR not in roles:
        await context.abort(
            grpc.StatusCode.PERMISSION_DENIED,
            f"role {ORCHESTRATOR} is needed here, and the caller's is {', '.join(roles) or 'none'}",
        )
