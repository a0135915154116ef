"""Liveness: all processes of a run learn at once that one of them has ended, whatever they wait for.

Each process holds a connection to the first one. When a process ends, however that is, the system closes its
connection; the first process then tells the others which process it was. A process that has done its work says so
before. Nobody has to answer in time, so a frozen or slow process is never taken for one that has ended. Only a closed
connection counts: one that cannot be made, or that the network breaks, is given up, and the run continues without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import socket
import struct
import threading
import uuid
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

__all__ = ["Liveness"]

_PATIENCE = 20.0
"""Time in which a process must reach the first one, and be answered (seconds)."""
_IDLE = 60.0
"""Time without news after which an empty line is sent, or a proxy might close an unused connection (seconds)."""
_WELCOME = b"\n"
"""Sent to a process that is known now."""
_DONE = "done"
"""Sent by a process that ends after its work."""
_FILES_FOR_EACH = 8
"""Files that the first process may open for each process; the collective operations of its groups need most of them."""
_BROKEN = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which a socket is broken instead of closed."""


class Liveness:
    """The connections of this process, and a thread that waits for the end of another process."""

    def __init__(self, missing: str = "", idle: float = _IDLE) -> None:
        """Begin without connections; ``missing`` is why there is no connection to the first process."""
        self.missing = missing
        self._idle = idle
        self._lost = ""
        self._over = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._end, awaited = socket.socketpair()
        self._others: set[socket.socket] = set()
        """Connections to other processes."""
        self._open = {self._end, awaited}
        self._follow(awaited, None)
        self._thread = threading.Thread(target=self._wait, name="liveness", daemon=True)
        _OF_THIS_PROCESS.add(self)

    @classmethod
    def join(cls, store: Store, rank: int, count: int, host: str, *, idle: float = _IDLE) -> Liveness:
        """Connect this process to the others, each of which calls this; ``host`` is where their store is.

        The first process never waits for the others; they wait until it knows them, for a limited time.
        """
        joined = _listening(store, count, host, idle) if rank == 0 else _connected(store, rank, idle)
        joined._thread.start()
        return joined

    def lost(self, patience: float = 0.0) -> str:
        """Return the name of a process that has ended; empty while there is none, for at most ``patience`` seconds."""
        if patience:  # else without a lock, in which a signal may end the work of the main thread
            self._over.wait(patience)
        return self._lost

    def close(self, *, failed: bool = False) -> None:
        """Close the connections; the others take this process for lost if it has ``failed``."""
        with contextlib.suppress(OSError):  # closed before
            self._end.send(b"\n")
        self._thread.join()
        if not failed:
            self._tell(_DONE)
        self._selector.close()
        self.forget()

    def forget(self) -> None:
        """Close what a forked process has of the connections: it may outlive this one."""
        for each in self._open:
            each.close()
        self._open.clear()
        self._others.clear()

    def listen(self, secret: str, count: int) -> int:
        """Take the connections of the others of ``count`` processes, which know the secret, at the returned port."""
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        server = socket.create_server(("", 0), family=family, backlog=count, dualstack_ipv6=both)
        self._follow(server, partial(self._admit, secret, count - 1))
        return int(server.getsockname()[1])

    def follow(self, connection: socket.socket, name: str) -> None:
        """Wait for the end of the process of that name."""
        self._others.add(connection)
        self._follow(connection, partial(self._hear, name))

    def _follow(self, each: socket.socket, handle: Callable[[socket.socket], None] | None) -> None:
        self._open.add(each)
        self._selector.register(each, selectors.EVENT_READ, handle)

    def _wait(self) -> None:
        """Handle what arrives until this process ends, or another one."""
        while not self._lost:
            ready = self._selector.select(self._idle)
            if not ready:
                self._tell("")
            for key, _ in ready:
                if key.data is None:
                    return
                key.data(key.fileobj)
        self._over.set()

    def _tell(self, line: str) -> None:
        for other in tuple(self._others):
            self._send(f"{line}\n".encode(), other)

    def _send(self, line: bytes, connection: socket.socket) -> None:
        try:
            connection.send(line)
        except OSError:  # broken by the network; it would now look as if the other process had closed it
            self._drop(connection)

    def _admit(self, secret: str, count: int, server: socket.socket) -> None:
        try:
            connection, _ = server.accept()
        except OSError:  # this process may open no more files
            return self._drop(server)
        self._follow(connection, partial(self._introduce, secret, count, server))

    def _introduce(self, secret: str, count: int, server: socket.socket, connection: socket.socket) -> None:
        said = _received(connection)
        words = said.split() if said else []
        if len(words) != 3 or words[0] != secret:
            return self._drop(connection)  # a program that tries all ports
        self._selector.unregister(connection)
        self.follow(connection, f"process {words[1]} on {words[2]}")
        self._send(_WELCOME, connection)
        if len(self._others) == count:
            self._drop(server)

    def _hear(self, name: str, connection: socket.socket) -> None:
        """Take the name that the first process passes on, or the end of the connection, and pass it on to the rest."""
        said = _received(connection)
        lines = [] if said is None else said.split("\n")
        if said is None or _DONE in lines:
            return self._drop(connection)
        if self._lost or (said and not any(lines)):
            return
        self._lost = next(filter(None, lines), name)
        self._others.discard(connection)
        self._tell(self._lost)

    def _drop(self, each: socket.socket) -> None:
        """Give up a socket, without a sign that this process has ended."""
        if each not in self._open:
            return
        self._selector.unregister(each)
        self._others.discard(each)
        self._open.discard(each)
        with contextlib.suppress(OSError):  # broken by the network
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BROKEN)
        each.close()


_OF_THIS_PROCESS = WeakSet[Liveness]()


def _forget_all() -> None:
    for each in list(_OF_THIS_PROCESS):
        each.forget()


os.register_at_fork(after_in_child=_forget_all)


def _received(connection: socket.socket) -> str | None:
    """Return what has arrived; empty at the end of the connection, None if the network broke it."""
    try:
        return connection.recv(4096).decode(errors="replace")
    except OSError:
        return None


def _listening(store: Store, count: int, host: str, idle: float) -> Liveness:
    """Return the liveness of the first process, which tells the others where it listens, at a free port."""
    secret, joined, own = uuid.uuid4().hex, Liveness(idle=idle), socket.gethostname()
    address, port, reason = "", 0, ""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < (needed := _FILES_FOR_EACH * count):
        reason = f"process 0 on {own} may open only {allowed} files; raise the limit with ulimit -n {needed}"
    else:
        try:
            address, port = _own_address(host), joined.listen(secret, count)
        except OSError as error:
            reason = f"process 0 on {own} cannot listen for connections ({error.strerror or error})"
    store.set("liveness", json.dumps([address, port, secret, own, reason]))
    return joined


def _connected(store: Store, rank: int, idle: float) -> Liveness:
    """Return the liveness of another process than the first one."""
    address, port, secret, machine, reason = json.loads(store.get("liveness"))
    if reason:
        return Liveness(reason)
    own = socket.gethostname()
    try:
        with contextlib.ExitStack() as failing:
            connection = failing.enter_context(socket.create_connection((address, port), timeout=_PATIENCE))
            connection.sendall(f"{secret} {rank} {own}\n".encode())
            if connection.recv(len(_WELCOME)) != _WELCOME:
                raise ConnectionError("it was closed there")
            failing.pop_all()
    except OSError as error:
        return Liveness(
            f"process {rank} on {own} cannot connect to process 0 at {address}, port {port} "
            f"({error.strerror or error}); open the ports between the machines of this run"
        )
    connection.settimeout(None)
    joined = Liveness(idle=idle)
    joined.follow(connection, f"process 0 on {machine}")
    return joined


def _own_address(host: str) -> str:
    """Return an address at which the others reach this machine: ``host``, which they all know, if it is this machine.

    Else it is the address of this machine on the way to ``host``.
    """
    family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address[0], 0))
        except OSError:
            probe.connect(address)  # sends nothing
            return str(probe.getsockname()[0])
    return host
