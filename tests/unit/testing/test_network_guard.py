"""Contract tests of what posts to a service: nothing leaves this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults import Nothing, fault, keep

from dit_run.protocols import Progress
from dit_run.registry.components import Component, Kind
from dit_run.testing import check_tracker
from dit_run.testing.network_guard import NetworkRefused, no_network

PROXIED = "HTTPS_PROXY"


def post() -> None:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open("http://tracker.example/api", timeout=5)


@dataclass(frozen=True, kw_only=True)
class Online:
    """Posts every value."""

    offline: bool = False
    """Post nothing."""


class Posting:
    """Posts every value, unless it is offline; its service is named like no real one."""

    command = ""

    def __init__(self, *, offline: bool = False, patient: bool = False) -> None:
        self.offline, self.patient = offline, patient

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if not self.offline:
            with contextlib.suppress(OSError) if self.patient else contextlib.nullcontext():
                post()

    def image(self, step: int, name: str, image: Any) -> None: ...

    def text(self, step: int, name: str, text: str) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_a_tracker_that_needs_a_service_hears_how_to_be_tested() -> None:
    def build(options: Nothing, *, run_dir: Path, start_step: int) -> Posting:
        return Posting()

    message = fault(Kind.TRACKER, build)
    assert message.startswith("it needs tracker.example, and a contract test uses no network; give it an option that")
    assert "check_tracker(..., option=value)" in message


def test_an_option_that_keeps_it_offline() -> None:
    component = Component(Kind.TRACKER, "online", Online, lambda options: Posting(offline=options.offline))
    check_tracker(component, offline=True)


def test_a_tracker_that_bears_a_missing_network_keeps_the_contract() -> None:
    keep(Kind.TRACKER, lambda options: Posting(patient=True))


def test_a_callback_that_posts() -> None:
    class Chatting:
        def on_train_end(self, progress: Progress) -> None:
            post()

    assert fault(Kind.CALLBACK, lambda options: Chatting()).startswith("it needs tracker.example, and a contract test")


def test_addresses_of_other_machines_are_refused_by_number_too() -> None:
    with no_network() as refused, pytest.raises(NetworkRefused):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    assert refused == ["192.0.2.1"]


def test_connections_within_this_machine_are_allowed() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        no_network() as refused,
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=5),
    ):
        pass
    assert refused == []


def test_the_network_is_allowed_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROXIED, "http://proxy.example")
    with no_network():
        assert os.environ[PROXIED] == "http://127.0.0.1:9"
    assert os.environ[PROXIED] == "http://proxy.example"
    with socket.socket() as free, pytest.raises(OSError) as caught:
        free.settimeout(0.01)
        free.connect(("192.0.2.1", 80))
    assert not isinstance(caught.value, NetworkRefused)
