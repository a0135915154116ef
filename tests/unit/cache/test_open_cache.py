from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image
from torch.nn.modules.module import register_module_forward_hook

from dit_run.cache.open_cache import cache_folder
from dit_run.cli.main import main
from dit_run.settings import CacheOptions


def losses(run: Path) -> list[tuple[float, float]]:
    """The loss and the norm of the gradient of each step."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["loss"], row["grad_norm"]) for row in rows]


def trained(config: Path, run: Path, *overrides: str) -> list[tuple[float, float]]:
    """The losses of a new run, with the norms of their gradients."""
    arguments = [f"training.output_dir={run}", "training.logging_steps=1", *overrides]
    assert main(["train", str(config), *arguments]) == 0
    return losses(run)


def test_the_command_makes_the_cache_and_says_what_is_in_it(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "latents of 4 samples" in shown and "states of 5 captions" in shown
    assert main(["cache", str(config)]) == 0
    assert "encoding" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_cached_run_learns_the_same_bytes_as_an_uncached_one(config: Path, tmp_path: Path, precision: str) -> None:
    same = (f"training.mixed_precision={precision}", "data.random_flip=true")
    cached = trained(config, tmp_path / "cached", *same)
    uncached = trained(config, tmp_path / "uncached", "cache.mode=off", *same)
    assert cached == uncached
    models = [tmp_path / run / "checkpoints" / "step-00000003" / "model.safetensors" for run in ("cached", "uncached")]
    assert models[0].read_bytes() == models[1].read_bytes()


@contextlib.contextmanager
def modules_at_work() -> Iterator[list[str]]:
    """The classes of modules that are called, in order."""
    names: list[str] = []
    hook = register_module_forward_hook(lambda module, inputs, output: names.append(type(module).__name__))
    try:
        yield names
    finally:
        hook.remove()


def test_a_warm_cache_needs_no_weights_of_the_encoders(config: Path, tmp_path: Path) -> None:
    before = trained(config, tmp_path / "first")
    with modules_at_work() as names:
        assert trained(config, tmp_path / "second") == before
    assert "Denoiser" in names and "LazyNetwork" not in names


@pytest.mark.slow
def test_a_preview_with_a_warm_cache_loads_the_decoder_alone(config: Path, tmp_path: Path) -> None:
    drawn = ("sampling.every_n_steps=2", "sampling.prompts=[no caption of a sample]", "sampling.steps=2")
    before = trained(config, tmp_path / "first", *drawn)
    with modules_at_work() as names:
        assert trained(config, tmp_path / "second", *drawn) == before
    assert {"CLIPTextModel", "Encoder"}.isdisjoint(names)
    assert names.index("Denoiser") < names.index("Decoder")


@pytest.mark.slow
def test_with_a_random_crop_captions_are_kept_and_pictures_are_not(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.linear_gradient("L").rotate(90).resize((48, 16)).save(tmp_path / "pictures" / "0.png")  # from black to white
    cached = trained(config, tmp_path / "cached", "data.crop=random")
    assert "note: data.crop is random: images are encoded in every step" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["captions"]
    assert trained(config, tmp_path / "uncached", "data.crop=random", "cache.mode=off") == cached
    assert trained(config, tmp_path / "other", "data.crop=center") != cached


def test_captions_of_other_configs_are_not_counted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", str(config)]) == 0
    (config.parent / "pictures" / "0.txt").write_text("another caption")
    assert main(["cache", str(config)]) == 0
    assert capsys.readouterr().out.count("states of 5 captions") == 2


def test_what_is_skipped_is_named_each_by_its_own_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = config.parent / "pictures"
    for name in ("1.png", "2.png"):
        (pictures / name).write_bytes(b"no picture")
    (pictures / "3.png").unlink()
    (pictures / "3.png").symlink_to("nowhere")
    assert main(["cache", str(config), "data.on_bad_sample=skip"]) == 0
    shown = capsys.readouterr().out
    for line in (line for line in shown.splitlines() if line.startswith("sample ")):
        key = line.split()[1].removesuffix(".png")
        assert f"{pictures}/{key}.png" in line
    assert shown.count("is skipped: ") == 3 and "latents of 1 samples; 3 cannot be read" in shown


def test_an_empty_folder_name_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (['cache.dir=""'], ["--dir", ""]):
        assert main(["cache", str(config), *arguments]) == 2
    assert "cache.dir" in capsys.readouterr().err


class Usage(NamedTuple):
    free: int


def test_a_disk_too_small_for_both_is_foreseen_before_anything_is_encoded(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    side = ("data.image_size=128", "data.random_flip=true", "training.mixed_precision=no")
    latents = 4 * 2 * 2 * 4 * 32 * 32 * 4
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(round(1.05 * latents)))
    assert main(["cache", str(config), *side]) == 2
    needed = r"the cache needs 268 kB \(latents 262 kB, text states 6 kB\) more and .* has 275 kB free; set cache\.dir"
    assert re.search(needed, capsys.readouterr().err)
    assert not list((tmp_path / "cache").glob("*/*/*.safetensors"))


def test_off_keeps_nothing(config: Path, tmp_path: Path) -> None:
    trained(config, tmp_path / "run", "cache.mode=off")
    assert not (tmp_path / "cache").exists()


def test_required_refuses_what_cannot_be_kept(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", str(config), "cache.mode=required", "data.crop=random"]) == 2
    assert "crop" in capsys.readouterr().err


TAGGED = ('data.tag_separator=" "', "data.shuffle_tags=true")


@pytest.mark.slow
def test_captions_that_vary_are_not_kept_and_templates_are(config: Path, tmp_path: Path) -> None:
    trained(config, tmp_path / "varied", *TAGGED)
    assert not list((tmp_path / "cache" / "captions").glob("**/*.safetensors"))
    assert list((tmp_path / "cache" / "latents").glob("**/*.safetensors"))
    template = "data.caption_template=a photo of {text}"
    cached = trained(config, tmp_path / "cached", template)
    assert list((tmp_path / "cache" / "captions").glob("**/*.safetensors"))
    assert cached == trained(config, tmp_path / "uncached", template, "cache.mode=off")


def test_required_refuses_captions_that_vary(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", str(config), "cache.mode=required", *TAGGED]) == 2
    assert "cache.mode is required, but data.shuffle_tags is set: each visit reads" in capsys.readouterr().err


@pytest.mark.slow
def test_a_skipped_picture_is_skipped_alike_with_and_without_the_cache(config: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "1.png").write_bytes(b"no picture")
    skip = ("data.on_bad_sample=skip", "training.num_epochs=2")
    cached = trained(config, tmp_path / "cached", *skip)
    assert cached == trained(config, tmp_path / "uncached", "cache.mode=off", *skip)


@pytest.mark.parametrize("command", ["cache", "train"])
def test_a_build_that_fails_gives_the_cursor_back(config: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", out := Terminal())
    (config.parent / "pictures" / "3.png").write_bytes(b"no picture")
    assert main([command, str(config)]) == 2
    shown = out.getvalue()
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0


def test_another_folder_is_another_cache(config: Path, tmp_path: Path) -> None:
    assert main(["cache", str(config), "--dir", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other" / "latents").is_dir() and not (tmp_path / "cache").exists()


def test_it_lies_in_the_users_cache_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(CacheOptions()) == tmp_path / "dit-run"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder(CacheOptions()) == Path.home() / ".cache" / "dit-run"
