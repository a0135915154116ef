"""Standard output holds the result of a command, whatever other code prints."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from dit_run.system.output import output_to_stderr


def test_all_ways_to_print_lead_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with output_to_stderr():
        print("python")
        os.write(1, b"descriptor\n")
        subprocess.run([sys.executable, "-c", "print('child')"], check=True)
        ctypes.CDLL(None).printf(b"buffered\n")
    print("after")
    said = capfd.readouterr()
    assert said.out == "before\nafter\n"
    assert sorted(said.err.split()) == ["buffered", "child", "descriptor", "python"]


def test_an_error_restores_the_output(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), output_to_stderr():
        raise ValueError("broken")
    os.write(1, b"result")
    assert capfd.readouterr().out == "result"


def test_it_works_without_standard_output() -> None:
    script = "from dit_run.system.output import output_to_stderr\nwith output_to_stderr(): print('seen')"
    done = subprocess.run(
        ["sh", "-c", f'exec "{sys.executable}" -c "{script}" >&-'], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "seen\n")
