"""The web frameworks that samples are written for, as a site runs them: one request, one answer."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import django
import httpx
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path
from django.utils.decorators import async_only_middleware  # pyright: ignore[reportUnknownVariableType] (Django has no types)

if TYPE_CHECKING:
    from collections.abc import Callable


async def ask(app: Any, url: str, **options: Any) -> httpx.Response:
    """POST to an ASGI application."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://site") as client:
        return await client.post(url, **options)


async def ask_django(view: Any, **options: Any) -> httpx.Response:
    """POST to a Django site whose one page is `view`, a class; the user is called `u-1`."""
    pages = ModuleType("pages")
    pages.__dict__["urlpatterns"] = [path("chat", view.as_view())]
    configure = cast("Any", settings).configure
    configure(ROOT_URLCONF=pages, SECRET_KEY="tests only", ALLOWED_HOSTS=["site"], MIDDLEWARE=["seeds.hosts.signed_in"])
    django.setup()
    return await ask(get_asgi_application(), "/chat", **options)


@async_only_middleware
def signed_in(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Django middleware: every request comes from the same user."""

    async def middleware(request: Any) -> Any:
        request.user = SimpleNamespace(id="u-1")
        return await get_response(request)

    return middleware
