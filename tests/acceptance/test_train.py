"""Training through the command line: what a run leaves and says, and what its folder allows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from runs import Command, Run, Train

from dit_run import load_config
from dit_run_plugins.datasets.shapes.scenes import scene_at


def test_a_run_leaves_its_folder(train: Train) -> None:
    run = train("sampling.every_n_steps=6")
    assert run.status["state"] == "finished"
    assert run.checkpoints == ["step-00000003", "step-00000006"]
    files = {path.name for path in run.file("").iterdir()}
    assert files == {
        "model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json", "config.json", "MANIFEST.json"
    }  # fmt: skip
    assert [line["step"] for line in run.metrics] == [1, 2, 3, 4, 5, 6]
    assert Image.open(run.path / "samples" / "step-00000006.png").text["step"] == "6"  # type: ignore[attr-defined]
    assert {"config.yaml", "provenance.json", "metrics.jsonl"} <= {path.name for path in run.path.iterdir()}


def test_loss_and_rate_are_logged(train: Train) -> None:
    run = train("training.logging_steps=2")
    assert [line["step"] for line in run.metrics] == [2, 3, 4, 6]
    assert set(run.metrics[0]) == {
        "step", "epoch", "loss", "learning_rate", "grad_norm", "memory_gb", "images_per_second",
        "tokens_per_second", "time",
    }  # fmt: skip
    assert len(run.values("validation/loss")) == len(run.values("validation/loss_ema")) == 2
    assert len(run.values("probe/loss")) == 2


def test_a_logged_loss_is_the_mean_of_its_steps(train: Train) -> None:
    each, pairs = train(), train("training.logging_steps=2", "validation.every_n_steps=null", output="pairs")
    losses = each.values("loss")
    means = [(first + second) / 2 for first, second in zip(losses[::2], losses[1::2], strict=True)]
    assert pairs.values("loss") == pytest.approx(means)


@pytest.mark.slow
def test_the_config_in_the_folder_gives_the_same_run(train: Train, command: Command) -> None:
    run = train()
    assert command(run.path / "config.yaml", "training.output_dir=again").status == 0
    assert Run(Path("again")).learnt() == run.learnt()


@pytest.mark.slow
def test_the_same_command_twice_learns_the_same_bytes(train: Train) -> None:
    assert train(output="a").learnt() == train(output="b").learnt()


@pytest.mark.slow
def test_observing_a_run_changes_nothing_of_it(train: Train) -> None:
    watched = train("sampling.every_n_steps=1", "validation.every_n_steps=1", "training.save_steps=1", output="watched")
    quiet = train("validation.every_n_steps=null", "training.save_steps=100", output="quiet")
    assert watched.learnt() == quiet.learnt()


def test_without_an_average_there_is_none(train: Train) -> None:
    run = train("training.use_ema=false")
    assert not run.file("ema.safetensors").exists()
    assert not run.values("validation/loss_ema")


def test_the_average_follows_the_weights_with_its_decay(train: Train) -> None:
    run = train("training.max_steps=2", "training.save_steps=1", "training.ema_warmup=0")
    first, second = (run.tensors(step=step) for step in (1, 2))
    before, after = (run.tensors("ema", step) for step in (1, 2))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    for name in second:
        torch.testing.assert_close(after[name], 0.5 * before[name] + 0.5 * second[name])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_keeps_weights_in_fp32(train: Train, precision: str) -> None:
    run = train(f"training.mixed_precision={precision}", "training.learning_rate=0.001")
    exact = train("training.learning_rate=0.001", output="exact")
    assert {value.dtype for value in run.tensors().values()} == {torch.float32}
    assert run.values("loss") == pytest.approx(exact.values("loss"), rel=0.02)
    assert run.learnt() != exact.learnt()


def test_checkpoints_are_kept_up_to_their_limit_the_best_among_them(train: Train) -> None:
    run = train("training.save_steps=1", "training.save_total_limit=2", "validation.every_n_steps=1")
    losses = run.values("validation/loss_ema")
    best = 1 + min(range(6), key=losses.__getitem__)
    kept = {f"step-{best:08d}", "step-00000006"}
    assert kept <= set(run.checkpoints)
    assert len(run.checkpoints) == 2


def test_the_best_is_one_of_those_that_were_saved(train: Train) -> None:
    run = train(
        "training.save_steps=2", "training.save_total_limit=2", "validation.every_n_steps=1",
        "training.learning_rate=0.5",
    )  # fmt: skip
    losses = run.values("validation/loss_ema")
    assert losses[0] < losses[1] < min(losses[2:])
    assert run.checkpoints == ["step-00000002", "step-00000006"]


def test_a_finished_run_says_so_and_stays_as_it_is(train: Train, command: Command, config: Path) -> None:
    run = train()
    before = run.everything()
    result = command(config)
    assert result.status == 0
    assert f"the run in {run.path} finished after 6 steps; start a new run with --fresh DIR" in result.words
    assert run.everything() == before


@pytest.mark.slow
def test_a_run_from_the_weights_of_another_begins_with_its_average(train: Train) -> None:
    first = train(output="first")
    for source in (first.path, first.file("")):
        begun = train(
            f"training.init_from={source}",
            "training.max_steps=1",
            "training.learning_rate=1.0e-30",
            output=f"from-{source.name}",
        )
        for name, value in begun.tensors().items():
            torch.testing.assert_close(value, first.tensors("ema")[name], rtol=0, atol=1e-20)
        assert begun.values("loss") != first.values("loss")[:1]


@pytest.mark.slow
def test_a_larger_image_with_larger_patches_begins_with_weights_that_are_resized(
    train: Train, command: Command, config: Path
) -> None:
    first = train(output="first")
    words = (f"training.init_from={first.path}", "data.image_size=32", "model.patch_size=8", "training.output_dir=next")
    said = command(config, *words).words
    assert f"training.init_from {first.file('')}: 41 tensors taken, 3 resized, 0 left out" in said
    assert "resized: input.weight [16, 48] -> [16, 192], output.weight [48, 16] -> [192, 16], output.bias" in said
    assert Run(Path("next")).checkpoints[-1] == "step-00000006"
    assert "tensors taken" not in command(config, *words, "training.max_steps=7").words  # a continued run has its own


def test_validation_shows_images_as_they_are(train: Train) -> None:
    still = ("training.max_steps=1", "training.learning_rate=1.0e-30", "data.random_flip")
    straight, flipped = (train(*still[:2], f"{still[2]}={flip}", output=f"flip-{flip}") for flip in ("false", "true"))
    assert straight.values("loss") != flipped.values("loss")
    assert straight.values("validation/loss") == flipped.values("validation/loss")


def test_captions_are_dropped_at_their_share(train: Train) -> None:
    runs = [train(f"training.caption_dropout={share}", output=f"share-{share}") for share in (0.01, 0.5, 1)]
    assert len({tuple(run.values("loss")) for run in runs}) == 3


BLOWN_UP = ("training.learning_rate=1.0e+38", "validation.every_n_steps=null")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_samples(command: Command, config: Path) -> None:
    result = command(config, *BLOWN_UP)
    assert result.status == 1
    assert "step 2: the loss is nan and the gradient norm nan; nothing was updated or saved" in result.words
    assert "Its samples: shapes/0/" in result.words
    run = Run(Path("run"))
    assert run.checkpoints == []
    assert run.status["state"] == "failed"
    assert "shapes/0/" in run.status["reason"]


def test_elastic_exact_takes_one_thread_where_no_number_is_set(train: Train) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run = train("training.elastic_exact=true", "training.num_threads=null")
    finally:
        torch.set_num_threads(before)
    assert json.loads((run.path / "provenance.json").read_bytes())["machine"]["threads"] == 1


def test_some_bad_steps_in_a_row_are_allowed(command: Command, config: Path) -> None:
    result = command(config, *BLOWN_UP, "training.max_bad_steps=2")
    assert result.status == 1
    for step in (2, 3):
        assert f"step {step}: loss or gradient is not finite; the update is skipped" in result.words
    assert "step 4: the loss is nan" in result.words
    kept = [json.loads(line)["text"] for line in Path("run/notices.jsonl").read_text().splitlines()]
    assert [text for text in kept if text.endswith("is skipped")] == [
        f"step {step}: loss or gradient is not finite; the update is skipped" for step in (2, 3)
    ]


def test_the_shipped_default_trains(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = command(
        "configs/quickstart.yaml", "training.max_steps=2", "lr_scheduler.warmup_steps=0", "training.output_dir=run",
        "training.batch_size=2", "metrics=[]", "validation.num_samples=2", "sampling.num_images=1",
        "sampling.steps=1", "trackers=[]",
    )  # fmt: skip
    assert result.status == 0, result.words
    assert Run(tmp_path / "run").status["state"] == "finished"
    assert f"newest image: {tmp_path / 'run' / 'samples' / 'step-00000002.png'}" in result.words
    assert result.words.endswith(f"look at it in a browser: dit-run view {tmp_path / 'run'}")


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 30, 374])
def test_own_images_train_at_once_whatever_their_number(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The recipe's own training options, cut short; only the networks are tiny, because nothing is downloaded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for index in range(count):
        Image.new("RGB", (20, 16), (index % 256, index // 256, 0)).save(tmp_path / "images" / f"{index:02}.png")
        (tmp_path / "images" / f"{index:02}.txt").write_text(f"number {index}")
    result = command(
        "configs/custom.yaml", "data.dataset_path=images", "training.output_dir=run", "data.image_size=8",
        "vae.type=identity", "text_encoder.type=words",
        "model.hidden_size=24", "model.num_layers=1", "model.num_heads=2",
        "training.compile_model=false", "training.mixed_precision=no", "sampling.num_images=1", "sampling.steps=1",
        "trackers=[]", "training.max_steps=3", "validation.num_samples=2",
    )  # fmt: skip
    assert result.status == 0, result.words
    said = result.words.replace("cache.num_workers has no effect", "")  # no autoencoder: there is nothing to cache
    assert "has no effect" not in said
    assert (Run(tmp_path / "run").status["state"], Run(tmp_path / "run").status["step"]) == ("finished", 3)


def test_what_is_trained_is_said_first(command: Command, config: Path) -> None:
    said = command(config, "training.save_steps=4", "training.max_steps=4").out.splitlines()
    trained = f"{sum(value.numel() for value in Run(Path('run')).tensors().values()):,} parameters on cpu"
    assert said[0] == f"note: {trained}; 44 samples, 16 held out; 4 steps of 4"
    forked = command(config, "--fork", "fork").out
    assert f"note: continues after step 4: {trained}; 44 samples, 16 held out; 6 steps of 4" in forked


def test_captions_that_are_too_long_are_counted(command: Command, config: Path) -> None:
    words = ("training.max_steps=1", "data.train_split=1.0", "text_encoder.max_length")
    short, again, long = (
        command(config, *words[:2], f"{words[2]}={length}", "--fresh", folder).out
        for length, folder in ((9, "short"), (9, "again"), (77, "long"))
    )
    cut = sum(len(scene_at(index, 0).caption.split()) > 8 for index in range(60))
    told = f"note: {cut} of 60 captions ({cut / 60:.1%}) are longer than the 9 tokens of the text encoder; "
    assert told in short and told in again
    assert "are longer than" not in long


def test_what_is_left_out_of_the_data_is_said(command: Command, config: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for index in range(12):
        Image.new("RGB", (16, 16), (index * 20, 0, 0)).save(images / f"{index:02}.bmp")
        (images / f"{index:02}.txt").write_text(f"red {index}")
    (images / "more.psd").touch()
    (images / "03.txt").unlink()
    words = (f"data={{type: custom, dataset_path: '{images}'}}", "data.num_samples=10", "data.on_bad_sample=skip")
    table = (
        "note: 11 samples found, 10 used; left out:\n"
        "  1  file of the format .psd, which is not read, such as more.psd\n"
        "  1  image without a caption, such as 03.bmp\n"
        "  1  sample beyond data.num_samples=10 (null uses all), such as "
    )
    assert table in command(config, *words, "training.max_steps=1").out
    assert table in command("check", config, *words).err


@pytest.mark.parametrize("name", ["2026", "no: [", "über alles 'x' \"y\""])
def test_another_run_may_be_called_anything(command: Command, config: Path, name: str) -> None:
    assert command(config, "training.max_steps=1", "--fresh", name).status == 0
    assert Run(Path(name)).status["state"] == "finished"
    assert command(Path(name) / "config.yaml").status == 0


def test_a_cache_may_be_called_anything(command: Command, config: Path) -> None:
    said = command("cache", config, "--dir", "2026")
    assert (said.status, said.err) == (0, "")
    assert said.words.startswith(f"{Path('2026').absolute()}: ")


def test_how_to_watch_is_said_at_the_start(command: Command, config: Path) -> None:
    result = command(config, "training.max_steps=1", "trackers=[{type: tensorboard}]")
    assert result.status == 0
    said, _, rest = result.out.partition("step 1/1")
    assert f"note: watch it with: tensorboard --logdir_spec run:{Path('run').absolute()}" in said
    assert rest


@pytest.mark.slow
def test_more_workers_than_cores_are_lowered_and_said(command: Command, config: Path, train: Train) -> None:
    result = command(config, "training.num_workers=999", "training.max_steps=2")
    assert result.status == 0
    assert "note: training.num_workers is 999 and this machine has " in result.words
    assert Run(Path("run")).learnt() == train("training.max_steps=2", output="alone").learnt()


def test_python_reads_the_config_a_run_used(train: Train) -> None:
    values = load_config(train().path / "config.yaml").to_dict()
    assert (values["data"]["type"], values["data"]["dataset_name"]) == ("shapes", "shapes")
    assert values["training"]["batch_size"] == 4


@pytest.mark.slow
def test_a_reader_that_goes_ends_no_run(config: Path) -> None:
    words = [sys.executable, "-m", "dit_run", str(config)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("note: ")
        process.stdout.close()
        assert "cannot write the output (Broken pipe); continuing without it" in process.stderr.read()
    assert process.returncode == 0
    run = Run(Path("run"))
    assert (run.status["state"], run.checkpoints[-1]) == ("finished", "step-00000006")


def test_a_gradient_norm_of_0_turns_clipping_off_as_null_does(train: Train) -> None:
    zero, null = (train(f"training.max_grad_norm={value}", output=f"norm-{value}") for value in ("0", "null"))
    assert zero.learnt() == null.learnt()
