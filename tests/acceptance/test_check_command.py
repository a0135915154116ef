"""`dit-run check`: is everything connected?"""

from __future__ import annotations

from pathlib import Path

from builders import tiny_autoencoder_kl
from PIL import Image
from runs import Command


def findings(out: str) -> dict[str, str]:
    """``ok`` or ``FAIL`` by the name of the finding."""
    lines = [line.partition(":")[0].split(maxsplit=1) for line in out.splitlines()]
    return {name: verdict for verdict, name in lines if verdict in ("ok", "FAIL")}


def test_a_sound_config_passes_and_leaves_only_its_sheet(command: Command, config: Path) -> None:
    result = command("check", config)
    assert result.status == 0, result.words
    assert findings(result.out) == {
        "vae": "ok", "initial loss": "ok", "captions": "ok", "empty condition": "ok", "gradients": "ok"
    }  # fmt: skip
    assert Image.open("check.png").width > 128
    assert sorted(path.name for path in config.parent.iterdir()) == ["check.png", "tiny.yaml"]


def test_the_sheet_goes_where_it_is_told(command: Command, config: Path) -> None:
    assert command("check", config, "--output", "sheet.png", "training.batch_size=2").status == 0
    assert Path("sheet.png").exists()
    assert not Path("check.png").exists()


def test_a_vae_that_does_not_give_pictures_back_fails(command: Command, config: Path, tmp_path: Path) -> None:
    folder = tiny_autoencoder_kl(tmp_path / "vae")
    result = command(
        "check", config, "vae.type=autoencoder_kl", f"vae.pretrained_model_name={folder}",
        "model.in_channels=4", "model.out_channels=4",
    )  # fmt: skip
    assert result.status == 1
    assert findings(result.out)["vae"] == "FAIL"


def test_captions_that_are_all_dropped_are_no_condition(command: Command, config: Path) -> None:
    """With a share of 1 the empty condition is trained and captions are not: their loss differs from chance alone."""
    result = command("check", config, "training.caption_dropout=0", "sampling.guidance_scale=1")
    assert "0% of captions are dropped in training, guidance is 1" in result.words
    assert result.status == 0
