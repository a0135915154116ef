"""`dit-run export --push`: to a stand-in for the hub; private unless asked, and whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import TOKEN, Hub, Repository, running_hub
from runs import CONFIG, Command

import dit_run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one step; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(CONFIG)
    given = (f"training.output_dir={folder / 'run'}", "training.max_steps=1", "sampling.prompts=[a red circle]")
    return dit_run.train(dit_run.load_config(folder / "tiny.yaml", *given)).path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that HF_ENDPOINT names, and a token for it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # read when it is imported
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_folder_is_pushed_to_a_private_repository(
    hub: Hub, run_folder: Path, command: Command, tmp_path: Path
) -> None:
    result = command("export", run_folder, tmp_path / "out", "--push", "shapes")
    assert result.status == 0, result.words
    assert f"uploaded to {hub.url}/ann/shapes, a private repository" in result.words
    repository = hub.repositories["ann/shapes"]
    assert repository.private
    assert repository.files == files(tmp_path / "out")
    assert len(repository.commits) == 1


def test_public_is_only_by_choice_and_a_second_push_replaces_files(
    hub: Hub, run_folder: Path, command: Command, tmp_path: Path
) -> None:
    words = ("--push", "group/shapes", "--format", "safetensors")
    assert command("export", run_folder, tmp_path / "one", *words, "--public").status == 0
    assert not hub.repositories["group/shapes"].private
    result = command("export", run_folder, tmp_path / "two", *words)
    assert result.status == 2
    assert "group/shapes exists and is public; add --public to publish the weights there" in result.words
    assert not (tmp_path / "two").exists()
    hub.repositories["group/shapes"].files["NOTES.md"] = b"mine"
    assert command("export", run_folder, tmp_path / "two", *words, "--public", "--dtype", "fp16").status == 0
    assert hub.repositories["group/shapes"].files == {**files(tmp_path / "two"), "NOTES.md": b"mine"}


def test_public_does_not_open_a_private_repository(
    hub: Hub, run_folder: Path, command: Command, tmp_path: Path
) -> None:
    hub.repositories["ann/shapes"] = Repository(private=True)
    result = command("export", run_folder, tmp_path / "out", "--push", "shapes", "--public")
    assert result.status == 2
    assert "exists and is private, and --public does not change that" in result.words
    assert hub.repositories["ann/shapes"].private


@pytest.mark.slow
@pytest.mark.parametrize("step", ["/repos/create", "/preupload/", "/objects/", "/commit/"])
def test_a_failed_upload_is_no_success_and_leaves_nothing_half(
    step: str, hub: Hub, run_folder: Path, command: Command, tmp_path: Path
) -> None:
    hub.refused = step
    result = command("export", run_folder, tmp_path / "out", "--push", "shapes")
    assert result.status == 1
    assert f"the upload to {hub.url}/ann/shapes failed" in result.words
    assert f"The export in {tmp_path / 'out'} is complete" in result.words
    assert f"hf upload ann/shapes {tmp_path / 'out'}" in result.words
    assert "uploaded to" not in result.words
    assert all(repository.files == {} for repository in hub.repositories.values())
    assert dit_run.load_run(tmp_path / "out").step == 1


def test_an_upload_that_cannot_be_checked_is_no_success(
    hub: Hub, run_folder: Path, command: Command, tmp_path: Path
) -> None:
    hub.refused = "/tree/"
    result = command("export", run_folder, tmp_path / "out", "--push", "shapes")
    assert result.status == 1
    assert f"the files in {hub.url}/ann/shapes cannot be checked after the upload" in result.words


def test_a_file_that_the_hub_lost_is_reported(hub: Hub, run_folder: Path, command: Command, tmp_path: Path) -> None:
    hub.lost = "single.safetensors"
    result = command("export", run_folder, tmp_path / "out", "--push", "shapes")
    assert result.status == 1
    assert "has not all files" in result.words and "after the upload: single.safetensors" in result.words


def test_without_a_token_a_name_or_a_hub_nothing_is_written(
    hub: Hub, run_folder: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    result = command("export", run_folder, out, "--push", "a/b/c")
    assert result.status == 2 and "--push a/b/c is not the name of a repository" in result.words
    result = command("export", run_folder, out, "--public")
    assert result.status == 2 and "--public needs --push" in result.words
    monkeypatch.setenv("HF_TOKEN", "another")
    result = command("export", run_folder, out, "--push", "shapes")
    assert result.status == 1 and f"{hub.url} refuses the token (status 401)" in result.words
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = command("export", run_folder, out, "--push", "shapes")
    assert result.status == 1 and "http://127.0.0.1:9 does not answer as expected" in result.words
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = command("export", run_folder, out, "--push", "shapes")
    assert result.status == 1 and "HF_HUB_OFFLINE" in result.words
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    result = command("export", run_folder, out, "--push", "shapes")
    assert result.status == 2
    assert "needs a token of the hub that may write: set HF_TOKEN, or run `hf auth login`" in result.words
    assert not out.exists() and hub.repositories == {}
