"""
The server's side of mutual TLS: who may connect, and who may call.

Every connection is taken with the identity of that moment, so that none has to
end for a new certificate. That the peer's certificate is of a trusted authority
is the handshake's business; which role it has is checked at each call.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeAlias

import grpc

from orchestrator.transport.identity import Identities, Identity

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_KINDS: Final[dict[tuple[bool, bool], Callable[..., Handler]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def server_credentials(identities: Identities) -> grpc.ServerCredentials:
    """For `add_secure_port`; a client without a certificate of the authorities does not get in."""
    given = identities.current()

    # None for no change, of which the annotations of gRPC do not know.
    def fetch() -> Any:
        nonlocal given
        identity = identities.current()
        if identity == given:
            return None
        given = identity
        return _configuration(identity)

    return grpc.dynamic_ssl_server_credentials(_configuration(given), fetch, require_client_authentication=True)


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(identity.key, identity.certificate)], root_certificates=identity.authorities
    )


class OnlyRole(grpc.aio.ServerInterceptor):
    """Lets one role call, and answers all others PERMISSION_DENIED."""

    def __init__(self, role: str) -> None:
        self._role = role

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        # A method that is not served has none.
        return handler and self._guarded(handler)

    def _guarded(self, handler: Handler) -> Handler:
        serve: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            await self._check(context)
            answers = serve(request, context)
            try:
                async for answer in answers:
                    yield answer
            finally:
                await answers.aclose()

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            await self._check(context)
            return await serve(request, context)

        make = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
        guarded = stream if inspect.isasyncgenfunction(serve) else call
        return make(guarded, handler.request_deserializer, handler.response_serializer)

    async def _check(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        roles = [name.decode(errors="replace") for name in context.auth_context().get("peer_dns", ())]
        if self._role not in roles:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"role {self._role} is needed here, and the caller's is {', '.join(roles) or 'none'}",
            )
