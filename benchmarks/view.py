"""Cost of an open page of `dit-run view` for the training that it shows.

A run of the quick start's network on one thread logs every 5 steps. In turn, its page is open in a headless Chromium,
which asks the server for what is new, and closed. Measured are steps per second from the times in ``metrics.jsonl``.
Bar: the training is at most 1 % slower while the page is open. It needs Chromium and the extra ``test``. Run it alone
on a machine with an idle core for the server and the browser: ``python benchmarks/view.py``; it takes four minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Bar, Report, Table, finish, parser, ratio

LONG = (
    "training.max_steps=1000000", "training.batch_size=4", "training.num_threads=1", "training.logging_steps=5",
    "training.save_steps=100000", "validation.every_n_steps=null", "sampling.every_n_steps=null", "metrics=[]",
    "trackers=[]",
)  # fmt: skip


def steps_per_second(log: Path, seconds: float) -> float:
    """Wait, and return the speed between the first and the last line that were logged meanwhile."""
    time.sleep(1.0)  # the change before has come to rest
    begin = log.stat().st_size
    time.sleep(seconds)
    with log.open() as file:
        file.seek(begin)
        lines = [json.loads(line) for line in file if line.endswith("\n")]
    first, last = lines[0], lines[-1]
    return float((last["step"] - first["step"]) / (last["time"] - first["time"]))


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=20, help="times that the page is opened and closed")
    options.add_argument("--seconds", type=float, default=4.0, help="length of each turn")
    arguments = options.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        run, command = Path(name) / "run", [sys.executable, "-m", "dit_run"]
        quickstart = Path(__file__).resolve().parent.parent / "configs" / "quickstart.yaml"
        words = [*command, str(quickstart), f"training.output_dir={run}", *LONG]
        training = subprocess.Popen(words, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_text().count("\n") < 5:
            if training.poll() is not None:
                raise SystemExit("the training ended")
            time.sleep(0.2)
        server = subprocess.Popen([*command, "view", str(run), "--port", "0"], stdout=subprocess.PIPE, text=True)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            assert server.stdout is not None
            link = server.stdout.readline().removeprefix("runs: ").strip()
            page = browser.new_page()
            speeds: dict[str, list[float]] = {"open": [], "closed": []}
            for _ in range(arguments.rounds):
                for state in speeds:
                    page.goto(link if state == "open" else "about:blank")
                    if state == "open":
                        page.locator("a[href^='#/run/']").first.click()
                        page.wait_for_selector("canvas")
                    speeds[state].append(steps_per_second(run / "metrics.jsonl", arguments.seconds))
        finally:
            browser.close()
            for process in (server, training):
                process.send_signal(signal.SIGKILL)
                process.wait()
    slower = ratio(speeds["closed"], speeds["open"])
    rows = [[state, f"{sorted(values)[len(values) // 2]:.2f}"] for state, values in speeds.items()]
    bar = Bar("speed with the page closed ÷ open", slower, 1.01, at_most=True)
    return finish(Report("A page that watches a run", [Table(["page", "steps per second"], rows)], [bar]), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
