"""A model hub on this machine: the few requests of uploads and of reads of datasets, as huggingface.co answers them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["TOKEN", "Hub", "Repository", "running_hub"]

TOKEN = "hf_token_of_tests"


@dataclass
class Repository:
    """What the hub has under a name."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """The state of the hub."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files by their SHA-256, before a commit names them."""
    refused: str = ""
    """Part of the path of requests that are refused with status 400."""
    lost: str = ""
    """A file that a commit forgets."""
    url: str = ""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """First and last byte of each range that was read."""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status and content, JSON or bytes, of the answer to a request with the right token."""
        path = path.partition("?")[0]
        if self.refused and self.refused in path:
            return 400, {"error": "refused on purpose"}
        if path == "/api/whoami-v2":
            return 200, {"name": "ann", "type": "user", "auth": {"accessToken": {"role": "write"}}}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.startswith("/objects/"):
            self.objects[hashlib.sha256(body).hexdigest()] = body
            return 200, b""
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, self._batch(json.loads(body)["objects"])
        if path.startswith(("/api/models/", "/api/datasets/")):
            owner, name, *rest = path.split("/")[3:]
            repository = self.repositories.get(f"{owner}/{name}")
            return (404, {}) if repository is None else self._of(repository, f"{owner}/{name}", rest, body)
        return 404, {"error": f"{method} {path}"}

    def read(self, path: str, first: int, last: int) -> bytes:
        """Bytes of a file, named as datasets/OWNER/NAME/resolve/REVISION/FILE."""
        _, owner, name, _, _, file = path.strip("/").split("/")
        self.ranges.append((first, last))
        return self.repositories[f"{owner}/{name}"].files[file][first : last + 1]

    def _create(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        name = f"{wanted['organization'] or 'ann'}/{wanted['name']}"
        if name in self.repositories:
            return 409, {"error": "You already created this repo", "url": f"{self.url}/{name}"}
        private = wanted.get("private", wanted.get("visibility") == "private")
        self.repositories[name] = Repository(private=private)
        return 200, {"url": f"{self.url}/{name}", "name": name, "id": "0" * 24}

    def _batch(self, objects: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "transfer": "basic",
            "objects": [
                {**each, "actions": {"upload": {"href": f"{self.url}/objects/{each['oid']}"}}} for each in objects
            ],
        }

    def _of(self, repository: Repository, name: str, rest: list[str], body: bytes) -> tuple[int, Any]:
        if rest[:1] == ["preupload"]:
            files = [each["path"] for each in json.loads(body)["files"]]
            mode = {True: "lfs", False: "regular"}
            return 200, {
                "files": [
                    {"path": each, "uploadMode": mode[each.endswith(".safetensors")], "shouldIgnore": False}
                    for each in files
                ]
            }
        if rest[:1] == ["commit"]:
            return 200, self._commit(repository, name, [json.loads(line) for line in body.splitlines()])
        if rest[:1] == ["tree"]:
            return 200, [
                {"type": "file", "path": each, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for each, content in repository.files.items()
            ]
        sha = repository.commits[-1] if repository.commits else "0" * 40
        siblings = [{"rfilename": each} for each in repository.files]
        return 200, {"id": name, "sha": sha, "private": repository.private, "siblings": siblings}

    def _commit(self, repository: Repository, name: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self.objects[value["oid"]]
        repository.files.pop(self.lost, None)
        repository.commits.append(hashlib.sha1(repr(sorted(repository.files)).encode()).hexdigest())
        sha = repository.commits[-1]
        return {"success": True, "commitOid": sha, "commitUrl": f"{self.url}/{name}/commit/{sha}", "hookOutput": ""}


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    """Answer requests at ``hub.url`` inside the context."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            status: int
            content: Any
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}" or self.path.startswith("/objects/")
            denied = (401, {"error": "Invalid credentials"})
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if allowed and wanted:
                status, content = 206, hub.read(self.path, int(wanted[1]), int(wanted[2]))
            else:
                status, content = hub.answer(self.command, self.path, body) if allowed else denied
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
