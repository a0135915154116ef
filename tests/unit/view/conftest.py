from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from served_pages import Serve, Served

for name in ("jinja2", "orjson", "starlette", "uvicorn"):
    pytest.importorskip(name, reason="the extra dit-run[view] is not installed")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves the runs of a folder until the test ends."""
    from dit_run.view.server import open_page

    pages = []

    def begin(folder: Path, names: Sequence[str] = ()) -> Served:
        page = open_page([folder], port=0, names=names)
        thread = threading.Thread(target=page.serve, daemon=True)
        thread.start()
        pages.append((page, thread))
        return Served(page.link)

    yield begin
    for page, thread in pages:
        page.stop()
        thread.join(10)
