"""The page in a real browser: what it shows, that it is live, usable by all, and asks no other host."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from run_folders import CONFIG_TEXT, make_grid, make_run
from runs import Command, Train

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("chromium is not on this machine", allow_module_level=True)
for name in ("starlette", "uvicorn", "jinja2", "orjson"):
    pytest.importorskip(name, reason="the extra dit-run[view] is not installed")
sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

from dit_run.view.library import run_id  # noqa: E402
from dit_run.view.report import report_html  # noqa: E402
from dit_run.view.server import Page, open_page  # noqa: E402

expect = sync_api.expect
pytestmark = pytest.mark.slow

PROMPTS = ["a red circle", "a blue square", "two triangles"]
HOSTILE = "<img src=x onerror=window.hit=1><script>window.hit=1</script>\u202e\u2066evil"


@dataclass
class Tab:
    """A page of the browser that remembers what must not happen."""

    page: Any
    link: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self, address: str = "", *, wait: str = "main :is(.row, [role=tabpanel] > *, .differences)") -> Any:
        self.page.goto("about:blank")
        self.page.goto(self.link + address)
        self.page.wait_for_selector(wait, state="attached")
        return self.page

    def note_request(self, request: Any) -> None:
        own = self.link.split("?")[0]
        if not request.url.startswith((own, "data:", "blob:", "about:", "file:")):
            self.foreign.append(request.url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Tab]]:
    """Opens the page of the runs in a folder, or a file; the test fails on any error or request to another host."""
    pages: list[tuple[Page, threading.Thread]] = []
    tabs: list[Tab] = []

    def begin(folder: Path | None = None, *, file: Path | None = None, **context: Any) -> Tab:
        if file is None:
            page = open_page([folder or tmp_path], port=0)
            thread = threading.Thread(target=page.serve, daemon=True)
            thread.start()
            pages.append((page, thread))
        new = browser.new_context(
            **{"viewport": {"width": 1300, "height": 900}, "locale": "en-US", **context}
        ).new_page()
        made = Tab(new, file.as_uri() if file is not None else page.link)
        new.on("console", lambda message: made.errors.append(message.text) if message.type == "error" else None)
        new.on("pageerror", lambda error: made.errors.append(str(error)))
        new.on("request", made.note_request)
        tabs.append(made)
        return made

    yield begin
    for made in tabs:
        made.page.context.close()
        assert (made.errors, made.foreign) == ([], [])
    for page, thread in pages:
        page.stop()
        thread.join(10)


def identity(path: Path) -> str:
    from dit_run.runs.reading.run_files import RunFiles

    return run_id(RunFiles(path.parent.resolve(), path.resolve()))


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    """A finished, a running, a failed and an empty run."""
    folder = tmp_path / "runs"
    lines = [{"step": step, "loss": 1 / step, "learning_rate": 0.1, "time": 1.7e9 + step} for step in range(1, 101)]
    lines[-1] |= {"validation/loss": 0.5, "validation/standard_error": 0.01, "shapes/wholly_right": 0.75}
    config = CONFIG_TEXT.replace("batch_size: 4", "batch_size: 8")
    return {
        "done": make_run(
            folder / "done",
            lines=lines,
            grids={10: PROMPTS, 50: PROMPTS, 100: PROMPTS},
            best={"loss": 0.5, "step": 100},
        ),
        "live": make_run(
            folder / "live", state="running", step=20, lines=lines[:20], config=config, grids={10: PROMPTS}
        ),
        "broken": make_run(folder / "broken", state="failed", step=7, reason="InputError: no image; put one in ./data"),
        "empty": make_run(folder / "empty", state="interrupted", step=0),
    }


def serious(page: Any) -> list[str]:
    """Problems that axe-core calls serious or critical."""
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{problem['id']}: {problem['nodes'][0]['html'][:200]}"
        for problem in found
        if problem["impact"] in ("serious", "critical")
    ]


def test_the_list_shows_every_run_and_filters_and_sorts(tab: Callable[..., Tab], runs: dict[str, Path]) -> None:
    page = tab().open()
    assert page.locator(".run-name").count() == 4
    failed = page.locator(".row.failed").inner_text()
    assert "InputError: no image; put one in ./data" in failed
    assert "7 of 100" in failed
    page.get_by_label("Filter runs").fill("DONE")
    assert page.locator(".run-name").all_inner_texts() == ["runs/done"]
    page.get_by_label("Filter runs").fill("")
    page.get_by_role("button", name="Sort by Name").click()
    names = ["runs/broken", "runs/done", "runs/empty", "runs/live"]
    assert page.locator(".run-name").all_inner_texts() == names
    page.get_by_role("button", name="Sort by Name").press("Enter")
    assert page.locator(".run-name").all_inner_texts() == names[::-1]
    page.get_by_label("State", exact=True).select_option("running")
    assert page.locator(".run-name").all_inner_texts() == ["runs/live"]
    assert "?token" not in page.url


def test_a_running_run_grows_while_it_is_looked_at(tab: Callable[..., Tab], runs: dict[str, Path]) -> None:
    opened = tab()
    page = opened.open(f"#/run/{identity(runs['live'])}")
    page.wait_for_selector("text=20 of 100")
    expect(page.locator(".plot").first).to_have_attribute("aria-label", re.compile(r"0\.05"))
    chart = page.locator(".plot > .uplot").first
    chart.evaluate("each => { each.kept = true; }")
    with (runs["live"] / "metrics.jsonl").open("a") as file:
        file.write('{"step": 21, "loss": 0.004, "time": 1700000021.0}\n{"step": 22, "lo')
    page.wait_for_selector("text=21 of 100", timeout=15_000)
    expect(page.locator(".plot").first).to_have_attribute("aria-label", re.compile(r"0\.004"), timeout=15_000)
    assert chart.evaluate("each => each.kept")
    make_grid(runs["live"], 20, PROMPTS)
    page.get_by_role("tab", name="Samples").click()
    page.wait_for_selector("text=Step 20", timeout=15_000)
    slider = page.get_by_role("slider", name="Step")
    slider.press("ArrowLeft")
    make_grid(runs["live"], 21, PROMPTS)
    expect(slider).to_have_attribute("max", "2", timeout=15_000)
    expect(slider).to_have_attribute("aria-valuetext", "Step 10")  # what was looked at stays
    expect(slider).to_be_focused()


def test_the_slider_moves_the_image(tab: Callable[..., Tab], runs: dict[str, Path]) -> None:
    page = tab().open(f"#/run/{identity(runs['done'])}/samples")
    image, slider = page.locator(".sample.large"), page.get_by_role("slider", name="Step")
    shown = lambda: re.search(r"cell/(\d+)/(\d+)", image.get_attribute("src") or "").groups()  # noqa: E731
    assert shown() == ("100", "0")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert shown() == ("50", "0")
    assert slider.get_attribute("aria-valuetext") == "Step 50"
    page.get_by_role("button", name="Previous step").click()
    page.keyboard.press("ArrowLeft")
    assert shown() == ("10", "0")
    expect(image).to_have_js_property("naturalWidth", 3)  # a plain image is sent small
    page.locator('[data-prompt="0"]').focus()
    page.keyboard.press("ArrowRight")
    assert shown() == ("10", "1")
    page.get_by_role("button", name="Side by side").click()
    sources = page.locator(".pair .sample").evaluate_all("all => all.map(each => each.src)")
    assert [re.search(r"cell/(.*)", source)[1] for source in sources] == [  # type: ignore[index]
        *(f"10/{index}" for index in range(3)),
        *(f"100/{index}" for index in range(3)),
    ]


def test_compare_shows_the_keys_that_differ(tab: Callable[..., Tab], runs: dict[str, Path]) -> None:
    page = tab().open()
    for name in ("done", "live"):
        page.get_by_label(f"Compare: runs/{name}").check()
    page.get_by_role("link", name="Compare (2)").click()
    page.wait_for_selector(".differences tbody tr")
    assert page.locator(".differences tbody tr").count() == 1
    row = page.locator(".differences tbody tr")
    assert (row.locator("th").inner_text(), row.locator("td").all_inner_texts()) == ("training.batch_size", ["4", "8"])
    assert page.locator(".shared tbody tr").count() == 3
    assert page.locator(".chart").count() >= 2


def test_curves_zoom_smooth_and_save(tab: Callable[..., Tab], runs: dict[str, Path]) -> None:
    page = tab(viewport={"width": 700, "height": 500}).open(f"#/run/{identity(runs['done'])}")
    last = page.locator(".plot").last
    assert last.locator("canvas").count() == 0  # it is not in view
    last.scroll_into_view_if_needed()
    last.locator("canvas").wait_for()
    page.get_by_label("From").fill("10")
    page.get_by_label("To").fill("20")
    page.get_by_label("To").press("Enter")
    expect(page.locator(".plot").first).to_have_attribute("aria-label", re.compile(r": 0\.05"))
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("Log y").check()
    page.get_by_label("Smoothing").fill("0.9")
    page.get_by_role("button", name="Time", exact=True).click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Training loss: CSV").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert (lines[0], len(lines)) == ("name,time,value,low,high", 101)
    assert lines[1].startswith("Training loss,") and lines[1].endswith(",1,,")  # no band
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Training loss: PNG").click()
    assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")


def test_the_config_shows_documentation_on_focus(tab: Callable[..., Tab], runs: dict[str, Path]) -> None:
    page = tab().open(f"#/run/{identity(runs['done'])}/config", wait=".entry")
    page.get_by_label("Filter keys").fill("batch_size")
    key = page.get_by_role("button", name="batch_size")
    key.focus()
    page.wait_for_selector("text=Samples per process and micro-step.", state="visible")


def test_hostile_names_are_shown_as_text(tab: Callable[..., Tab], tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 1.0, HOSTILE: 2.0, f"{HOSTILE}/score": 1.0}]
    config = "data: {type: '<script>window.hit=1</script>'}\nmodel: {'<b onclick=x>': '<script>window.hit=1</script>'}"
    run = make_run(
        tmp_path / "runs" / HOSTILE.replace("/", "∕"),
        state="failed",
        reason=HOSTILE,
        lines=lines,
        grids={1: [HOSTILE, "x"], 2: [HOSTILE, "y"]},
        config=config,
        failures=[{"work": HOSTILE, "error": HOSTILE, "step": 1, "last_step": 1, "times": 1}],
    )
    (run / "notices.jsonl").write_text(json.dumps({"step": 1, "text": HOSTILE}) + "\n")
    opened = tab()
    page = opened.open()
    assert HOSTILE in page.locator(".reason").inner_text()
    for name in ("curves", "samples", "config", "events", "about", "try"):
        page = opened.open(f"#/run/{identity(run)}/{name}", wait="[role=tabpanel] > *")
        page.wait_for_load_state("networkidle")
        if name == "about":
            assert page.locator(".panel code.command").first.inner_text().startswith("dit-run plan '")
        assert page.locator("main img[onerror], main script").count() == 0
    assert page.evaluate("window.hit") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_passes_axe(tab: Callable[..., Tab], runs: dict[str, Path], scheme: str) -> None:
    opened = tab(color_scheme=scheme)
    done, live, broken, empty = (identity(path) for path in runs.values())
    addresses = ["", f"#/run/{broken}/events", f"#/compare/{done},{live}", f"#/run/{done}", f"#/run/{done}/config"]
    more = [f"#/run/{done}/{name}" for name in ("samples", "about", "try")] + [
        f"#/run/{empty}",
        f"#/run/{empty}/samples",
    ]
    for address in addresses + (more if scheme == "light" else []):
        page = opened.open(address)
        page.wait_for_load_state("networkidle")
        assert (address, serious(page)) == (address, [])


def test_pages_fit_a_phone(tab: Callable[..., Tab], runs: dict[str, Path]) -> None:
    opened = tab(viewport={"width": 360, "height": 740})
    done, live, broken, _ = (identity(path) for path in runs.values())
    addresses = ["", f"#/run/{broken}", f"#/compare/{done},{live}"]
    addresses += [f"#/run/{done}/{name}" for name in ("curves", "samples", "config", "events", "about")]
    for address in addresses:
        page = opened.open(address)
        page.wait_for_load_state("networkidle")
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, address


def test_the_page_is_in_english_and_chinese(tab: Callable[..., Tab], runs: dict[str, Path]) -> None:
    page = tab().open()
    page.get_by_role("button", name="中文").click()
    page.wait_for_selector("text=最佳验证损失")
    assert page.evaluate("document.documentElement.lang") == "zh"
    page.reload()
    page.wait_for_selector("text=最佳验证损失")


def test_a_report_opens_from_disk_alone(tab: Callable[..., Tab], runs: dict[str, Path], tmp_path: Path) -> None:
    from dit_run.view.library import RunLibrary

    file = tmp_path / "report.html"
    file.write_text(report_html(RunLibrary([tmp_path / "runs"])), encoding="utf-8")
    shutil.rmtree(tmp_path / "runs")
    opened = tab(file=file)
    page = opened.open()
    assert page.locator(".run-name").count() == 4
    page.get_by_role("link", name="done", exact=True).click()
    page.wait_for_selector(".chart canvas")
    assert page.get_by_role("tab", name="Try").count() == 0
    page.get_by_role("tab", name="Samples").click()
    expect(page.locator(".sample.large")).to_have_js_property("naturalWidth", 3)  # a plain image is sent small
    before = page.locator(".sample.large").get_attribute("src")
    page.get_by_role("button", name="Previous step").click()
    assert page.locator(".sample.large").get_attribute("src") != before
    page.get_by_role("tab", name="Config").click()
    page.wait_for_selector(".entry")
    assert serious(page) == []


def test_try_makes_the_same_bytes_as_the_command(
    tab: Callable[..., Tab], train: Train, command: Command, tmp_path: Path
) -> None:
    run = train("training.max_steps=2")
    page = tab(run.path).open(f"#/run/{identity(run.path)}/try")
    page.get_by_label("Prompts, one per line").fill("a red circle\na blue square")
    page.get_by_label("Seed").fill("5")
    page.get_by_label("Steps").fill("3")
    page.get_by_role("tab", name="About").click()
    page.get_by_role("tab", name="Try").click()  # what was filled in stays
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector(".job .sample", timeout=90_000)
    links = page.locator(".job figcaption a").evaluate_all("all => all.map(each => each.href)")
    made = [page.request.get(link).body() for link in links]
    result = command("sample", run.path, "a red circle", "a blue square", "--seed", 5, "--steps", 3, "--output", "out")
    assert result.status == 0
    assert made == [path.read_bytes() for path in sorted(Path("out").glob("0*.png"))]
    page.get_by_role("button", name="Use as preview prompts").click()
    assert json.loads(page.locator("pre").inner_text().splitlines()[2].removeprefix("    - ")) == "a red circle"
    assert serious(page) == []
