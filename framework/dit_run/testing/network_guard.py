"""A guard against the network: a contract test must not post to the real service of a tracker or a callback."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

__all__ = ["NetworkRefused", "no_network"]

_NOWHERE = "http://127.0.0.1:9"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_CONNECTING = ("socket.connect", "socket.sendto", "socket.sendmsg")
_RESOLVING = ("socket.getaddrinfo", "socket.gethostbyname")


class NetworkRefused(ConnectionError):
    """A connection to another machine inside :func:`no_network`."""


class _Guard:
    """State of the audit hook, which Python cannot remove once it is added."""

    def __init__(self) -> None:
        self.added = False
        self.refused: list[str] | None = None
        """The hosts that were refused; None while the network is allowed."""

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.refused is None or not event.startswith("socket."):
            return
        host = _host(event, arguments)
        if host is not None and not _is_local(host):
            self.refused.append(host)
            raise NetworkRefused(f"the connection to {host} is refused, because a contract test uses no network")


_guard = _Guard()


@contextlib.contextmanager
def no_network() -> Iterator[list[str]]:
    """Refuse connections of this process to other machines, and yield the list of refused hosts.

    Child processes are led to a proxy that does not exist. Connections within this machine are allowed.
    """
    if not _guard.added:
        sys.addaudithook(_guard)
        _guard.added = True
    outer, refused = _guard.refused, list[str]()
    _guard.refused = refused
    try:
        with patch.dict(os.environ, dict.fromkeys(_PROXIES, _NOWHERE)):
            yield refused
    finally:
        _guard.refused = outer


def _host(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the host that a socket is about to reach; None for other events and for Unix sockets."""
    if event in _RESOLVING:
        host = arguments[0]
        return host.decode() if isinstance(host, bytes) else host
    address = arguments[1] if event in _CONNECTING and len(arguments) > 1 else None
    return str(address[0]) if isinstance(address, tuple) else None


def _is_local(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
