"""Authentication of requests, and the arguments that FastAPI passes to routes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from rag.serving.asgi import read_bearer_key, route_path
from rag.serving.errors import to_api_error
from rag.serving.keys import Principal
from rag.serving.service import Service
from rag.serving.tenants import Tenant


class Authentication:
    """ASGI middleware that authenticates a request before its body is read.

    ``is_public`` returns whether a path needs no key.
    """

    def __init__(self, app: ASGIApp, service: Service, is_public: Callable[[str], bool]) -> None:
        self.app = app
        self.service = service
        self.is_public = is_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and not self.is_public(route_path(scope)):
            address = scope["client"][0] if scope.get("client") else ""
            try:
                principal = await self.service.authenticate(address, read_bearer_key(scope))
            except Exception as error:  # also when the key store cannot be read
                await to_api_error(error).response(closes=True)(scope, receive, send)
                return
            scope.setdefault("state", {})["principal"] = principal
        await self.app(scope, receive, send)


_bearer = HTTPBearer(auto_error=False, description="An API key, created by `rag keys add`.")


def _get_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _get_principal(request: Request, _: Annotated[Any, Depends(_bearer)]) -> Principal:
    principal: Principal = request.state.principal  # set by `Authentication`
    return principal


ServiceArgument = Annotated[Service, Depends(_get_service)]
"""The service of the app."""

PrincipalArgument = Annotated[Principal, Depends(_get_principal)]
"""Whom the request comes from. A route with this argument needs a key."""


async def _lease_tenant(
    service: ServiceArgument, principal: PrincipalArgument
) -> AsyncIterator[Tenant]:
    async with service.tenants.lease(principal.namespace) as tenant:
        yield tenant


TenantArgument = Annotated[Tenant, Depends(_lease_tenant)]
"""The caller's namespace; its index stays open until the response is sent."""
