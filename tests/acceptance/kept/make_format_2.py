"""Make ``format-2.tar.xz``: the run of two steps whose two processes share the weights.

``python tests/acceptance/kept/make_format_2.py ARCHIVE``, with the version of dit-run that is to be kept. It trains in
``/tmp/kept``, whose path is in the run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

PLACE = Path("/tmp/kept")
TIME = 1_796_000_000
CONFIG = """
data: {type: shapes, image_size: 8, size: 48, num_samples: 24, train_split: 0.7}
model: {hidden_size: 8, num_layers: 1, num_heads: 1, patch_size: 4, in_channels: 3, out_channels: 3, dropout: 0.1}
vae: {type: identity}
text_encoder: {type: words, width: 4, num_layers: 1, num_heads: 1, buckets: 8}
scheduler: {type: flow_matching}
lr_scheduler: {type: constant, warmup_steps: 0}
training:
  output_dir: run
  shard: 2
  batch_size: 1
  max_steps: 2
  save_steps: 2
  save_every_n_epochs: null
  logging_steps: 1
  mixed_precision: "no"
  device: cpu
  num_workers: 0
  num_threads: 1
sampling: {every_n_steps: null, prompts: [a red circle], steps: 2}
validation: {every_n_steps: 2, num_samples: 2, timestep_bins: 1}
trackers: []
"""


def main(archive: Path) -> None:
    """Train the run and write it to the archive."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    (PLACE / "kept.yaml").write_text(CONFIG)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*launcher, "-m", "dit_run", "kept.yaml"], cwd=PLACE, check=True)
    for name in ("status.json", "lock", "provenance.json"):
        _unnamed(PLACE / "run" / name)
    with tarfile.open(archive, "w:xz", preset=9) as file:
        file.add(PLACE / "run", "run", filter=_plain)


def _unnamed(path: Path) -> None:
    """Take the names of this machine out of a file."""
    values = json.loads(path.read_text())
    for where, name in ((values, "host"), (values.get("machine", {}), "platform")):
        if name in where:
            where[name] = "a-machine"
    path.write_text(json.dumps(values, indent=1) + "\n")


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return the member without owner and time."""
    owner: dict[str, Any] = {"uid": 0, "gid": 0, "uname": "", "gname": ""}
    return member.replace(mtime=TIME, deep=False, **owner)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
