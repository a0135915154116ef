"""Stopping by signal: a flag first, the end on the second Ctrl-C, and helpers that outlive neither."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dit_run.system.signals import HANDLED, STATUS, Interrupted, StopRequest, ended_by_interrupt


@pytest.mark.parametrize(("number", "status"), STATUS.items())
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
    before = [signal.getsignal(number) for number in HANDLED]
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in HANDLED] == before


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # by nohup
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_request_to_save_is_none_to_stop() -> None:
    with StopRequest() as stop, stop.interrupting():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (stop.signal, stop.save_requested) == (None, True)


def test_a_stop_interrupts_work_that_can_be_given_up_once() -> None:
    with StopRequest() as stop:
        with pytest.raises(Interrupted), stop.interrupting():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                raise AssertionError("not interrupted")
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # what cleans up is not interrupted
        with pytest.raises(Interrupted), stop.interrupting():
            raise AssertionError("begun after a stop")
        os.kill(os.getpid(), signal.SIGTERM)  # outside the context it raises nothing


def test_short_work_may_end_and_is_reminded_if_it_does_not() -> None:
    with StopRequest() as stop:
        with stop.interrupting(after=60):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted), stop.interrupting(after=0.01):
            signal.pause()
            raise AssertionError("reminded, but not interrupted")


def test_nothing_is_interrupted_while_it_saves() -> None:
    saved = []
    with StopRequest() as stop, stop.interrupting(), stop.uninterrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        saved.append(True)
    assert (saved, stop.status) == ([True], 143)


def test_outside_the_main_thread_nothing_is_interrupted() -> None:
    ended: list[bool] = []

    def work() -> None:
        with StopRequest() as stop, stop.interrupting():
            ended.append(stop.signal is None)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]


def test_sigterm_may_be_repeated() -> None:
    with StopRequest() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.status == 143


_AT_ANY_TIME = """
import signal, sys
from dit_run.system.signals import StopRequest
def trace(frame, event, argument):
    if frame.f_code.co_name == "notify_all":  # called while its lock is held
        signal.raise_signal(signal.SIGTERM)
with StopRequest() as stop:
    sys.settrace(trace)
sys.settrace(None)
print(stop.status)
"""


def test_a_signal_may_arrive_at_any_time() -> None:
    done = subprocess.run([sys.executable, "-c", _AT_ANY_TIME], capture_output=True, text=True, check=False, timeout=20)
    assert (done.stdout, done.stderr) == ("143\n", "")


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
