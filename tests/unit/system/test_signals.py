"""Stopping by signal: a flag first, the end on the second Ctrl-C, and helpers that outlive neither."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dit_run.system.signals import StopRequest, ended_by_interrupt


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_sets_the_flag_and_the_status(number: signal.Signals, status: int) -> None:
    with StopRequest() as stop:
        assert (stop.signal, stop.status) == (None, 0)
        os.kill(os.getpid(), number)
        assert (stop.signal, stop.status) == (number, status)


_SWALLOWED = """
import contextlib, os, signal
from dit_run.system.signals import StopRequest, ended_by_interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it
with ended_by_interrupt():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
    print(stop.status, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
print("goes on", flush=True)
"""


def test_an_interrupt_that_a_library_would_swallow_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", _SWALLOWED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "130\n", "")


def test_interrupts_are_what_they_were_afterwards() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ended_by_interrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with ended_by_interrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_first_signal_decides_the_status() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.status == 130


def test_the_old_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_sigterm_may_be_repeated() -> None:
    with StopRequest() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.status == 143


def test_a_second_sigint_ends_the_process_at_once() -> None:
    code = (
        "import os, signal; from dit_run.system.signals import StopRequest\n"
        "with StopRequest(relayed=False):\n"
        "    os.kill(os.getpid(), signal.SIGINT); print('once', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT); print('twice', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "once\n")


def test_a_launcher_s_repetition_of_sigint_is_not_a_second_one() -> None:
    with StopRequest(relayed=True) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.status == 130


HELPER = """
import multiprocessing, os, signal
from dit_run.system.signals import ignore_signals

def help():
    ignore_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    os.write(1, b"%d\\n" % os.getpid())
    while True:
        signal.pause()

if __name__ == "__main__":
    multiprocessing.get_context("forkserver").Process(target=help).start()
    signal.pause()
"""


def test_a_helper_ignores_both_and_dies_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(HELPER)
    with subprocess.Popen([sys.executable, tmp_path / "helper.py"], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) > 0
        parent.kill()
        assert parent.stdout.read() == b""  # nobody holds the other end any more
