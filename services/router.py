"""The router: every call of the wire contract goes to the rooms of its principal's tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from ..mixer.errors import Reason, RecollectError
from .access import Principal, acting_principal
from .access.gate import answers_of
from .rooms import SERVICES
from .status import Context, answering
from .stream import encode_response
from .tenants import Tenants


class Router(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # no generics at run time
    """Handlers of all methods, made from the descriptors of the contract."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._handlers = {
            f"/{service.full_name}/{method.name}": self._handler(service.full_name, method)
            for service in SERVICES
            for method in service.methods
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method; None where there is no such method."""
        return self._handlers.get(handler_call_details.method)

    def _handler(self, service: str, method: MethodDescriptor) -> Any:
        tenants = self._tenants

        async def answered(request: Any, context: Context) -> Any:
            async with answering(context), tenants.rooms(_tenant()) as rooms:
                return await getattr(rooms.servicers[service], method.name)(request, context)

        async def streamed(request: Any, context: Context) -> AsyncIterator[Any]:
            async with answering(context), tenants.rooms(_tenant()) as rooms:
                answer = getattr(rooms.servicers[service], method.name)(request, context)
                async with aclosing(answers_of(answer)) as answers:
                    async for item in answers:
                        yield item

        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        return make(
            streamed if method.server_streaming else answered,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=encode_response,
        )


def _tenant() -> str:
    principal: Principal | None = acting_principal()
    if principal is None:
        # No gate stood before this call: fail closed.
        raise RecollectError(Reason.CREDENTIAL_MISSING, "nobody is known to have made this call.")
    return principal.tenant
