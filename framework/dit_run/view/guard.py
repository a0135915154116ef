"""The guard of the server: only a browser that was given the token, and only pages of this server, get an answer."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "cookie_name"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def cookie_name(token: str) -> str:
    """Return the name of the cookie that holds a token: each page has its own, because ports share their cookies."""
    return f"dit-run-view-{hashlib.sha256(token.encode()).hexdigest()[:12]}"


class Guard:
    """Gate that refuses requests without the token, from other pages, and for other host names (DNS rebinding)."""

    def __init__(self, app: ASGIApp, token: str, names: Iterable[str], proxies: Iterable[str] = ()) -> None:
        """``names`` are host names of this server; ``proxies`` are those of servers that pass requests on to it."""
        self.app = app
        self._token = token
        self._cookie = cookie_name(token)
        self._proxies = {name.lower() for name in proxies}
        self._names = {"localhost", *(name.lower() for name in names), *self._proxies}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            answer = self._refusal(scope) or self._entrance(scope) or self.app
            await answer(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return _text("this host name is not served; use the printed link, or add --allow-host NAME", 421)
        if not all(self._is_same(origin, hosts[0]) for origin in headers.getlist("origin")):
            return _text("requests of other pages are not served", 403)
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return _text("requests of other pages are not served", 403)
        return None

    def _is_same(self, origin: str, host: str) -> bool:
        try:
            found = urlsplit(origin)
            return found.netloc.lower() == host.lower() or found.hostname in self._proxies
        except ValueError:
            return False

    def _is_own(self, host: str) -> bool:
        """Return True for an address, localhost and the given names: only a name can be bound to another address."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name in self._names

    def _entrance(self, scope: Scope) -> Response | None:
        """Return None for a request that has the token, a redirect for the printed link, and otherwise a refusal."""
        given = QueryParams(scope["query_string"]).get("token")
        if given is not None and self._fits(given) and scope["method"] in ("GET", "HEAD"):
            answer = RedirectResponse("./" if scope["path"] == "/" else "/", 303)  # a proxy may add a prefix
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="lax", path="/")
            return answer
        if self._fits(_cookie(scope, self._cookie)) or self._fits(_bearer(scope)):
            return None
        return _text("this page needs the token: open the link that dit-run printed when the page was started", 403)

    def _fits(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())


def _cookie(scope: Scope, name: str) -> str:
    try:
        cookies = SimpleCookie(Headers(scope=scope).get("cookie", ""))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


def _bearer(scope: Scope) -> str:
    kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    return token if kind.lower() == "bearer" else ""


def _text(text: str, status: int) -> Response:
    return PlainTextResponse(text + "\n", status)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending
