"""The server of the page: a socket on this machine, a token, and the application behind a guard."""

from __future__ import annotations

import resource
import secrets
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from dit_run.problems import InputError
from dit_run.view.app import build_app
from dit_run.view.guard import Guard
from dit_run.view.library import RunLibrary
from dit_run.view.try_pages import TryPages
from dit_run.view.try_queue import TryQueue

__all__ = ["Page", "open_page"]

_PORTS = range(6110, 6120)
"""Ports that are tried where none is named."""
_FILES = 8192
"""Open files and connections that the server asks the system for."""


@dataclass
class Page:
    """A page that listens."""

    link: str
    """Address with the token."""
    server: uvicorn.Server
    listener: socket.socket
    queue: TryQueue

    def serve(self) -> None:
        """Answer requests until :meth:`stop`, or an interrupt."""
        try:
            self.server.run(sockets=[self.listener])
        finally:
            self.queue.close()

    def stop(self) -> None:
        self.server.should_exit = True

    def stop_with_input(self) -> None:
        """Stop when standard input ends, as it does when the process that started this one has ended."""

        def wait() -> None:
            sys.stdin.buffer.read()
            self.stop()

        threading.Thread(target=wait, daemon=True).start()


def open_page(
    folders: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    names: Sequence[str] = (),
    queue: TryQueue | None = None,
) -> Page:
    """Listen on a host and port for a page of the runs in the folders. Raises InputError where that fails."""
    _allow_files()
    listener = _listen(host, port)
    token = secrets.token_urlsafe(24)
    library, queue = RunLibrary(folders), queue or TryQueue()
    app = build_app(library, *TryPages(library, queue).routes())
    guarded = Guard(app, token, [socket.gethostname(), socket.getfqdn(), host], names)
    config = uvicorn.Config(
        guarded, log_level="warning", access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=1
    )
    shown = f"[{host}]" if ":" in host else host
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else shown
    return Page(f"http://{shown}:{listener.getsockname()[1]}/?token={token}", uvicorn.Server(config), listener, queue)


def _listen(host: str, port: int | None) -> socket.socket:
    ports = [*_PORTS, 0] if port is None else [port]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in ports:
        try:
            return socket.create_server((host, candidate), family=family, backlog=1024)
        except (OSError, OverflowError) as error:
            failure = error
    raise InputError(f"--host {host} --port {ports[-1]} cannot be listened on: {failure}; choose another port")


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
