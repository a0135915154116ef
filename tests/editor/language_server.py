"""A client of yaml-language-server over stdio, with what an editor asks for."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

SECONDS = 30
SETTINGS = {
    "yaml": {
        "validate": True,
        "hover": True,
        "completion": True,
        "schemaStore": {"enable": False},
        "format": {"enable": False},
    },
    "http": {},
    "[yaml]": {},
}


class LanguageServer:
    """One server process; each document has a name of its own."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            ["node", str(program), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._diagnostics: dict[str, list[dict[str, Any]]] = {}
        self._number = 0
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        self.request(
            "initialize",
            {
                "processId": None,
                "rootUri": self.folder.as_uri(),
                "capabilities": {
                    "textDocument": {
                        "completion": {"completionItem": {"snippetSupport": True, "documentationFormat": ["markdown"]}},
                        "hover": {"contentFormat": ["markdown"]},
                        "publishDiagnostics": {},
                    },
                    "workspace": {"configuration": True},
                },
            },
        )
        self._notify("initialized", {})
        self._notify("workspace/didChangeConfiguration", {"settings": SETTINGS})
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def open(self, name: str, text: str) -> str:
        """Open a document in the folder, and give its address."""
        uri = (self.folder / name).as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._notify("textDocument/didOpen", {"textDocument": document})
        return uri

    def completion(self, uri: str, line: int, column: int) -> list[dict[str, Any]]:
        """Completions at a place that counts from 0."""
        answer = self.request("textDocument/completion", _at(uri, line, column))
        return list(answer["items"] if isinstance(answer, dict) else answer or [])

    def hover(self, uri: str, line: int, column: int) -> str:
        """The hover's text; empty where there is none."""
        answer = self.request("textDocument/hover", _at(uri, line, column))
        contents = answer["contents"] if answer else ""
        return contents["value"] if isinstance(contents, dict) else str(contents)

    def diagnostics(self, uri: str) -> list[dict[str, Any]]:
        """What the server has to say about a document, once it says it."""
        while uri not in self._diagnostics:
            self._handle(self._messages.get(timeout=SECONDS))
        return self._diagnostics[uri]

    def request(self, method: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        number = self._number
        self._send({"id": number, "method": method, "params": parameters})
        while True:
            message = self._messages.get(timeout=SECONDS)
            if message.get("id") == number and "method" not in message:
                assert "error" not in message, message
                return message.get("result")
            self._handle(message)

    def _notify(self, method: str, parameters: dict[str, Any]) -> None:
        self._send({"method": method, "params": parameters})

    def _handle(self, message: dict[str, Any]) -> None:
        if message.get("method") == "textDocument/publishDiagnostics":
            self._diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif message.get("method") == "workspace/configuration":
            items = [SETTINGS.get(item.get("section")) for item in message["params"]["items"]]
            self._send({"id": message["id"], "result": items})
        elif "id" in message and "method" in message:
            self._send({"id": message["id"], "result": None})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while header := stream.readline():
            length = int(header.split(b":")[1])
            while stream.readline().strip():
                pass
            self._messages.put(json.loads(stream.read(length)))


def _at(uri: str, line: int, column: int) -> dict[str, Any]:
    return {"textDocument": {"uri": uri}, "position": {"line": line, "character": column}}
