"""``dit-run view``: serve a page of runs to the browser of this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from dit_run.cli.view_extra import require_view
from dit_run.problems import InputError

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", nargs="*", default=["outputs"], metavar="FOLDER", help="runs, or folders of runs (default: outputs)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 6110 on)")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="another name of this server, as of a proxy"
    )
    parser.add_argument(
        "--allow-plugins", action="store_true", help="run the plugin files of a run where images are made with it"
    )
    parser.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    folders = [Path(folder) for folder in arguments.folders]
    for folder in () if arguments.with_parent else folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; name the folders in which runs lie")
    require_view()
    from dit_run.view.server import open_page
    from dit_run.view.try_queue import TryQueue

    queue = TryQueue(allow_plugins=arguments.allow_plugins)
    page = open_page(folders, host=arguments.host, port=arguments.port, names=arguments.allow_host, queue=queue)
    if arguments.with_parent:
        page.stop_with_input()
    print(page.link if arguments.with_parent else f"runs: {page.link}\n(Ctrl-C stops)", flush=True)
    page.serve()
    return 0
