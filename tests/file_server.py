"""A server of files on this machine, which can be slow, broken or forgetful."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["FileServer", "serving"]


@dataclass
class FileServer:
    """The files in a folder by HTTP, and what goes wrong with them."""

    folder: Path
    url: str = ""
    latency: float = 0.0
    """Time before each answer (seconds)."""
    drops: int = 0
    """Answers that end after half of their bytes (number)."""
    busy: int = 0
    """Requests that are answered with 503 (number)."""
    ranges: bool = True
    """False: every request is answered with the whole file."""
    asked: list[str] = field(default_factory=list)
    """Methods and names of all requests."""

    def gets(self, name: str) -> int:
        """The number of times that the content of a file was asked for."""
        return self.asked.count(f"GET {name}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: FileServer

    def do_HEAD(self) -> None:
        self._answer(content=False)

    def do_GET(self) -> None:
        self._answer(content=True)

    def _answer(self, content: bool) -> None:
        files, name = self.files, self.path.partition("?")[0].lstrip("/")
        files.asked.append(f"{self.command} {name}")
        time.sleep(files.latency)
        path = files.folder / name
        if files.busy > 0 or not path.is_file():
            status, files.busy = (503 if files.busy > 0 else 404), files.busy - 1
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        tag = hashlib.md5(data).hexdigest()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if files.ranges else None
        part = data[int(wanted[1]) : int(wanted[2]) + 1] if wanted else data
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{tag}"')
        self.end_headers()
        if content and files.drops > 0:
            files.drops -= 1
            self.wfile.write(part[: len(part) // 2])
            self.close_connection = True
        elif content:
            self.wfile.write(part)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    """Serve a folder."""
    files = FileServer(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"files": files}))
    server.daemon_threads = True
    files.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
