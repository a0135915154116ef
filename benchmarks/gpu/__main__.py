"""Measurements on one CUDA GPU: ``python -m benchmarks.gpu``, at most 8 minutes.

Each part runs in a process of its own and leaves its values in ``FOLDER/gpu/PART.json``, so the command continues after
an interrupt and skips what it has; ``--again`` measures everything again. Then it writes ``FOLDER/gpu.json`` and its
section of ``benchmarks/RESULTS.md``, or of ``FOLDER/RESULTS.md`` with ``--folder FOLDER``. A part that fails, takes too
long or needs a missing package is reported and stops no other; ``FOLDER/gpu/PART.log`` has its messages.

``--tiny --folder FOLDER`` tries all parts with tiny sizes on any machine, in some minutes.

On a machine with a GPU and no network that has torch, transformers and pillow, bring a folder ``wheels``, written by

    pip wheel --no-deps -w wheels . && pip download --no-deps -d wheels -c constraints.txt NAMES

for its platform and Python (pip's ``--platform`` and ``--python-version``), with these NAMES: absl-py arabic-reshaper
argcomplete attrs certifi charset-normalizer diffusers fonttools grpcio httpx importlib-metadata jsonschema
jsonschema-specifications lazy-importer markdown pluggy protobuf python-bidi referencing requests rpds-py simplejpeg
tensorboard tensorboard-data-server urllib3 werkzeug xxhash zipp. Then one line does all:

    pip install --no-index --no-deps wheels/*.whl && python -m benchmarks.gpu
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from ..measuring import surroundings
from .frame import measured
from .page import report_of, write_section
from .parts import PARTS
from .trial import ROOT, Trial, choose_device

RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    parser, arguments = _arguments()
    if arguments.part:
        print(json.dumps(PARTS[arguments.part].measure(Trial(arguments.seconds, arguments.tiny))))
        return 0
    if arguments.tiny and arguments.folder.resolve() == RESULTS:
        parser.error("--tiny needs --folder: its numbers do not belong to the results")
    if not arguments.tiny and choose_device().type != "cuda":
        parser.error("this machine has no CUDA GPU; --tiny tries the parts without one")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also ends the part that runs
    folder = arguments.folder
    try:
        found = dict(measured(PARTS, folder / "gpu", only=arguments.only, tiny=arguments.tiny, again=arguments.again))
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    report = report_of(found)
    (folder / "gpu.json").write_text(json.dumps({"parts": found, "report": report, **surroundings()}, indent=1))
    print(report)
    write_section((folder.parent if folder.resolve() == RESULTS else folder) / "RESULTS.md", report)
    return int(any("error" in values for values in found.values()))


def _arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="try every part with tiny sizes, on any machine")
    parser.add_argument("--again", action="store_true", help="measure again what was measured")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--only", nargs="*", choices=PARTS, help="measure only these parts")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    return parser, parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
