"""Pretrained weights: an error names the config key and the file."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
from builders import hub_repository
from safetensors.torch import save_file

from dit_run.hub import DIFFUSERS, TRANSFORMERS, Pretrained, recorded_files
from dit_run.problems import InputError


def test_pretrained_weights_name_the_key_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("7")
    weights = Pretrained(str(tmp_path), "vae.pretrained_model_name")
    with pytest.raises(InputError) as caught:
        weights.object("config.json")
    path = tmp_path / "config.json"
    assert str(caught.value) == f"vae.pretrained_model_name: {path} should hold a JSON object, not int"
    assert weights.local_object("config.json") is None


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 1710537716\n"


def weights(folder: Path) -> Pretrained:
    return Pretrained(str(folder), "vae.pretrained_model_name")


def save(path: Path, **values: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.tensor([value]) for name, value in values.items()}, path)


def sharded(folder: Path, index: str = "model.safetensors.index.json") -> Path:
    """Two shards of three tensors, and their index."""
    save(folder / "model-00001-of-00002.safetensors", a=1.0, b=2.0)
    save(folder / "model-00002-of-00002.safetensors", c=3.0)
    files = {name: f"model-0000{1 + (name == 'c')}-of-00002.safetensors" for name in "abc"}
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return folder


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "model.safetensors.index.fp16.json"])
def test_the_tensors_of_all_shards_are_read(tmp_path: Path, index: str) -> None:
    files = weights(sharded(tmp_path, index)).weight_files(TRANSFORMERS)
    assert {name: value.item() for name, value in files.tensors().items()} == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert (files.is_safetensors, files.variant) == (True, "fp16" if "fp16" in index else None)


def test_a_shard_without_a_wanted_tensor_is_not_read(tmp_path: Path) -> None:
    files = weights(sharded(tmp_path)).weight_files(TRANSFORMERS)
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"broken")
    assert list(files.tensors(lambda name: name == "c")) == ["c"]


def test_a_missing_shard_is_named_with_its_index(tmp_path: Path) -> None:
    (sharded(tmp_path) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError) as caught:
        weights(tmp_path).weight_files(TRANSFORMERS)
    assert str(caught.value) == (
        f"vae.pretrained_model_name: {tmp_path} has no model-00002-of-00002.safetensors, which "
        "model.safetensors.index.json names; download it again, or copy the missing file into it"
    )


@pytest.mark.parametrize("names", [{}, {"a": 7}, {"a": "../other/model.safetensors"}, ["a"]])
def test_an_index_without_usable_names_is_refused(tmp_path: Path, names: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(InputError, match=r"vae\.pretrained_model_name: .*index\.json is no index of shards"):
        weights(tmp_path).weight_files(TRANSFORMERS)


def test_the_digest_covers_every_shard(tmp_path: Path) -> None:
    before = weights(sharded(tmp_path)).weight_files(TRANSFORMERS).digest()
    save(tmp_path / "model-00002-of-00002.safetensors", c=4.0)
    assert weights(tmp_path).weight_files(TRANSFORMERS).digest() != before


@pytest.mark.parametrize(
    ("present", "taken"),
    [
        (["x.fp16.safetensors", "x.safetensors"], "x.safetensors"),
        (["x.bin", "x.fp16.safetensors"], "x.fp16.safetensors"),
        (["x.bf16.safetensors", "x.fp16.safetensors"], "x.fp16.safetensors"),
        (["x.bf16.safetensors"], "x.bf16.safetensors"),
        (["x.fp16.bin"], "x.fp16.bin"),
    ],
)
def test_full_precision_comes_first_and_safetensors_before_bin(tmp_path: Path, present: list[str], taken: str) -> None:
    names = [name.replace("x", DIFFUSERS.safetensors, 1) for name in (*present, taken)]
    (tmp_path / "vae").mkdir()
    for name in names[:-1]:
        (tmp_path / "vae" / name).write_bytes(b"")
    assert weights(tmp_path).weight_files(DIFFUSERS, ("", "vae/")).file == tmp_path / "vae" / names[-1]


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no weights in its top folder or vae/: no diffusion_pytorch_model\.safe"):
        weights(tmp_path).weight_files(DIFFUSERS, ("", "vae/"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.json"])
def test_a_git_lfs_pointer_is_named_as_such(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(InputError) as caught:
        weights(tmp_path).need(name)
    assert str(caught.value) == (
        f"vae.pretrained_model_name: {tmp_path} is incomplete: {tmp_path / name} is a Git LFS pointer: the repository "
        "was cloned without its large files; run `git lfs pull` in its folder, or download the file itself"
    )


def test_a_pointer_in_place_of_a_shard_is_named(tmp_path: Path) -> None:
    (sharded(tmp_path) / "model-00001-of-00002.safetensors").write_text(POINTER)
    with pytest.raises(InputError, match=r"model-00001-of-00002\.safetensors is a Git LFS pointer"):
        weights(tmp_path).weight_files(TRANSFORMERS)


def test_optional_files_are_asked_for_until_the_hub_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder, asked = hub_repository(tmp_path, "kl"), list[str]()
    folder.mkdir(parents=True)
    (folder / "here.json").write_text("{}")
    absent = folder.parents[1] / ".no_exist" / folder.name
    absent.mkdir(parents=True)
    (absent / "absent.json").touch()
    own = huggingface_hub.hf_hub_download

    def out_of_reach(name: str, file: str, *, revision: str | None, local_files_only: bool) -> str:
        if not local_files_only:
            asked.append(file)
        return own(name, file, revision=revision, local_files_only=True)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", out_of_reach)
    with recorded_files() as found:
        Pretrained("tiny/kl", "vae.pretrained_model_name").fetch("absent.json", "one.json", "here.json", "two.json")
    assert asked == ["one.json"]
    assert [each.file for each in found] == ["here.json"]
    Pretrained(str(folder), "vae.pretrained_model_name").fetch("absent.json", "one.json")
    assert asked == ["one.json"]


@pytest.mark.parametrize("folder", ["", "vae"])
def test_the_cache_on_this_machine_is_searched_for_every_folder_before_the_hub_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--tiny--kl"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    file = repository / "snapshots" / ("0" * 40) / folder / "diffusion_pytorch_model.safetensors"
    file.parent.mkdir(parents=True)
    save_file({"a": torch.zeros(1)}, file)
    found = Pretrained("tiny/kl", "vae.pretrained_model_name").weight_files(DIFFUSERS, ("vae/", ""))
    assert list(found.tensors()) == ["a"]
