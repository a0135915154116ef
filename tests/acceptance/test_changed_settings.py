"""Settings that may change when a run continues, and the advice of error messages, followed as it is printed."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
from PIL import Image
from runs import STOPPER, Command, Run, Train, advised, stopping

STOP = stopping(4)
FAILING = dedent(
    '''
    """A plugin file: pixels as latents, of batches that fit; `limit` and `bad` are files in the working directory."""

    from dataclasses import dataclass
    from pathlib import Path

    import torch

    from dit_run import Component, Kind, hookimpl
    from dit_run_plugins.vaes.identity.vae import IdentityVae


    @dataclass(frozen=True, kw_only=True)
    class Failing:
        """Pixels."""


    class FailingVae(IdentityVae):
        def encode(self, images):
            limit = Path("limit")
            if limit.exists() and len(images) > int(limit.read_text()):
                raise torch.OutOfMemoryError("CUDA out of memory")
            if Path("bad").exists():
                Path("bad").unlink()
                return images * float("nan"), None
            return images, None


    def build(options):
        return FailingVae()


    @hookimpl
    def dit_run_components():
        return [Component(Kind.VAE, "failing", Failing, build)]
    '''
)


FREE = [
    "data.on_bad_sample=skip",
    "training.max_bad_steps=3",
    "training.save_total_limit=2",
    "sampling.steps=1",
    "sampling.sampler=heun",
    "sampling.guidance_scale=1.5",
    "guidance.type=apg",
    "sampling.guidance_rescale=0.5",
    "sampling.guidance_interval=[0.1, 0.9]",
    "sampling.seed=3",
    "sampling.prompts=[a red circle]",
    "validation.every_n_steps=null",
]


@pytest.mark.slow
def test_free_settings_change_nothing_that_is_learnt(
    train: Train, unfinished: Run, command: Command, config: Path
) -> None:
    whole = train(output="whole")
    result = command(config, *FREE)
    assert result.status == 0, result.words
    assert "->" not in result.words
    assert unfinished.learnt() == whole.learnt()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "note", "exact"),
    [
        (
            ("training.learning_rate=0.01",),
            "training.learning_rate: 0.02 -> 0.01: the new value holds from step 5 on, so the weights are not those of "
            "an uninterrupted run",
            False,
        ),
        (("training.max_grad_norm=0.1",), "training.max_grad_norm: 1.0 -> 0.1: the new value holds from step 5", False),
        (("training.mixed_precision=bf16",), "training.mixed_precision: 'no' -> 'bf16': the new value holds", False),
        (
            ("training.batch_size=2", "training.gradient_accumulation_steps=2"),
            "training.batch_size: 4 -> 2, training.gradient_accumulation_steps: 1 -> 2: each step keeps its samples, "
            "captions, noise and timesteps; dropout masks and the last bits of the weights differ",
            False,
        ),
        (("cache.mode=off",), "cache.mode: 'auto' -> 'off': the weights may differ in their last bits", True),
        (("training.deterministic=true",), "training.deterministic: False -> True: the weights may differ", True),
        (
            ("validation.num_samples=2", "validation.timestep_bins=2"),
            "validation.num_samples: 4 -> 2, validation.timestep_bins: 1 -> 2: validation losses from here on cannot "
            "be compared with earlier ones, so the best one is forgotten",
            True,
        ),
        (("training.init_from=nowhere",), "training.init_from: None -> 'nowhere': it has no effect", True),
    ],
)
def test_adjustable_settings_change_with_a_note(
    train: Train, unfinished: Run, command: Command, config: Path, overrides: tuple[str, ...], note: str, exact: bool
) -> None:
    whole = train(output="whole")
    result = command(config, *overrides)
    assert result.status == 0, result.words
    words = result.words.replace(f"{Path.cwd()}/", "")
    assert note in words
    assert (unfinished.learnt() == whole.learnt()) == exact
    assert unfinished.values("loss")[:4] == whole.values("loss")[:4]


@pytest.mark.slow
def test_another_split_of_a_step_sees_the_same_samples(train: Train, command: Command, config: Path) -> None:
    still = ("model.dropout=0.0", "training.learning_rate=0.001")
    whole = train(*still, output="whole")
    assert command(config, *still, *STOP).status == 143
    assert command(config, *still, "training.batch_size=1", "training.gradient_accumulation_steps=4").status == 0
    assert Run(Path("run")).values("loss") == pytest.approx(whole.values("loss"), rel=1e-5)


@pytest.mark.parametrize(
    "overrides", [("training.batch_size=2",), ("training.batch_size=3", "training.gradient_accumulation_steps=2")]
)
def test_another_number_of_samples_per_step_is_refused(
    unfinished: Run, command: Command, config: Path, overrides: tuple[str, ...]
) -> None:
    before = unfinished.everything()
    result = command(config, *overrides)
    assert result.status == 2
    assert (
        "holds a run of 4 samples per step and process: training.batch_size 4 x gradient_accumulation_steps 1."
        in result.words
    )
    assert "choose two numbers whose product is 4" in result.words
    assert unfinished.everything() == before


@pytest.mark.slow
def test_the_best_loss_under_other_validation_is_another(unfinished: Run, command: Command, config: Path) -> None:
    words = ("training.save_steps=1", "training.save_total_limit=2", "validation.every_n_steps=1")
    assert command(config, *words, "validation.num_samples=2", "training.learning_rate=5.0").status == 0
    losses = unfinished.values("validation/loss_ema")
    assert losses[0] < min(losses[-2:])
    assert unfinished.checkpoints == ["step-00000005", "step-00000006"]


# ------------------------------------------------------------------------------------------------------ the advice


def overrides_in(text: str) -> list[str]:
    """The ``section.key=value`` words of a message."""
    return [word.rstrip(",.;)") for word in re.findall(r"\b[a-z_]+\.[a-z_]+=\S+", text)]


@pytest.fixture
def failing(config: Path, command: Command) -> tuple[object, ...]:
    """The command of a run of the failing VAE that was stopped after 2 steps."""
    Path("failing.py").write_text(FAILING)
    words = (config, f"plugins=[failing.py, {STOPPER}]", "vae={type: failing}", "validation.every_n_steps=null")
    assert command(*words, "callbacks=[{type: stopper, after: 2}]").status == 143
    return words


@pytest.mark.slow
def test_the_advice_against_out_of_memory(command: Command, failing: tuple[object, ...]) -> None:
    Path("limit").write_text("2")
    failed = command(*failing)
    assert failed.status == 1
    advice = overrides_in(failed.words)
    assert advice == ["training.batch_size=2", "training.gradient_accumulation_steps=2"]
    assert command(*failing, *advice).status == 0


@pytest.mark.slow
def test_the_advice_against_a_bad_loss(command: Command, failing: tuple[object, ...]) -> None:
    Path("bad").touch()
    failed = command(*failing)
    assert failed.status == 1
    assert "Continue from the last checkpoint with a lower rate, such as training.learning_rate=0.01" in failed.words
    lower, skip = overrides_in(failed.words)
    assert (lower, skip) == ("training.learning_rate=0.01", "training.max_bad_steps=1")

    Path("bad").touch()
    skipping = command(*failing, skip, "callbacks=[{type: stopper, after: 4}]")
    assert skipping.status == 143, skipping.words
    assert "step 3: loss or gradient is not finite; the update is skipped" in skipping.words
    lowered = command(*failing, lower)
    assert lowered.status == 0, lowered.words
    assert Run(Path("run")).values("learning_rate") == [0.02, 0.02, 0.02, 0.02, 0.01, 0.01]


@pytest.mark.slow
def test_a_bad_loss_in_low_precision_advises_full_precision(command: Command, failing: tuple[object, ...]) -> None:
    Path("bad").touch()
    failed = command(*failing, "training.mixed_precision=bf16")
    precise = overrides_in(failed.err)[1]
    assert precise == "training.mixed_precision=no"
    assert command(*failing, precise).status == 0


@pytest.mark.slow
def test_the_advice_against_a_broken_image(command: Command, config: Path) -> None:
    Path("images").mkdir()
    for index in range(8):
        Image.new("RGB", (16, 16), (30 * index, 0, 0)).save(f"images/{index}.png")
        Path(f"images/{index}.txt").write_text(f"colour {index}")
    words = (config, "data={type: custom, dataset_path: images, image_size: 16, train_split: 1.0}")
    assert command(*words, *stopping(1)).status == 143
    Path("images/3.png").write_bytes(b"no image")
    failed = command(*words)
    assert failed.status == 2
    advice = overrides_in(failed.words)
    assert advice == ["data.on_bad_sample=skip"]
    assert command(*words, *advice).status == 0


# ------------------------------------------------------------------------------------------------------- the length


@pytest.mark.slow
def test_a_finished_run_is_extended_in_place(train: Train, command: Command, config: Path) -> None:
    whole = train("training.max_steps=9", output="whole")
    run = train()
    result = command(config, "training.max_steps=9")
    assert result.status == 0, result.words
    note = "this run of 6 steps now ends after 9: its learning rates so far are those of a run of that length"
    assert note in result.words
    assert run.learnt() == whole.learnt()
    assert run.values("loss") == whole.values("loss")
    assert run.status["state"] == "finished"
    assert "finished after 9 steps" in command(config, "training.max_steps=9").words


@pytest.mark.slow
def test_epochs_extend_a_run_too(train: Train, command: Command, config: Path) -> None:
    epochs = ("training.max_steps=null", "data.size=10", "data.train_split=1.0")
    whole = train(*epochs, "training.num_epochs=2", output="whole")
    run = train(*epochs, "training.num_epochs=1")
    assert command(config, *epochs, "training.num_epochs=2").status == 0
    assert run.learnt() == whole.learnt()


def test_a_stopped_run_may_end_earlier(unfinished: Run, command: Command, config: Path) -> None:
    assert command(config, "training.max_steps=5").status == 0
    assert unfinished.status["state"] == "finished"
    assert unfinished.checkpoints[-1] == "step-00000005"


def test_a_run_cannot_end_before_its_step(unfinished: Run, command: Command, config: Path) -> None:
    result = command(config, "training.max_steps=3")
    assert result.status == 2
    assert "holds a run that is at step 4, and this config ends after 3" in result.words


def test_another_key_for_the_same_length_changes_nothing(train: Train, command: Command, config: Path) -> None:
    run = train("training.num_epochs=1000")
    before = run.learnt()
    assert command(config, "training.num_epochs=2000").status == 0
    assert run.learnt() == before
    assert run.status["state"] == "finished"


DECAYING = "lr_scheduler={type: cosine, warmup_steps: 1}"
STABLE = "lr_scheduler={type: warmup_stable_decay, warmup_steps: 1, decay_share: 0.4}"


@pytest.mark.slow
def test_a_schedule_that_depends_on_the_length_is_forked(train: Train, command: Command, config: Path) -> None:
    run = train(DECAYING)
    before = run.everything()
    result = command(config, DECAYING, "training.max_steps=9")
    assert result.status == 2
    assert (
        "holds a run of 6 steps, and this config has 9. The learning rates of lr_scheduler cosine depend on the "
        "length, and 6 steps are done: the rate of step 3 was 0.0181 and not 0.0192." in result.words
    )
    assert "the learning rate goes from 0.00191 to 0.00617, and ends as in a run of 9 steps" in result.words
    assert run.everything() == before
    assert command(*advised(result)).status == 0
    assert Run(Path("run-2")).values("learning_rate")[:1] == pytest.approx([0.00617], rel=1e-3)


@pytest.mark.slow
def test_a_schedule_before_its_decay_is_extended(train: Train, command: Command, config: Path) -> None:
    whole = train(STABLE, "training.max_steps=10", output="whole")
    assert command(config, STABLE, *stopping(3)).status == 143
    result = command(config, STABLE, "training.max_steps=10")
    assert result.status == 0, result.words
    assert Run(Path("run")).learnt() == whole.learnt()


def test_a_finished_run_follows_no_other_rate(train: Train, command: Command, config: Path) -> None:
    run = train()
    before = run.everything()
    result = command(config, "training.learning_rate=0.01")
    assert result.status == 2
    assert "holds a finished run with another config: training.learning_rate: 0.02 -> 0.01 Start" in result.words
    assert run.everything() == before


@pytest.mark.slow
def test_the_advice_for_another_config_is_a_command(unfinished: Run, command: Command, config: Path) -> None:
    result = command(config, "training.caption_dropout=0.3")
    assert result.status == 2
    assert advised(result) == [str(config), "training.caption_dropout=0.3", "--fork", "run-2"]
    assert command(*advised(result)).status == 0


@pytest.mark.slow
def test_the_advice_for_a_fork_names_the_fork(unfinished: Run, command: Command, config: Path) -> None:
    stop = stopping(5)
    assert command(config, *stop, "--fork", "second").status == 143
    result = command(config, "--fork", "second", "training.caption_dropout=0.3")
    folder = Path("second").absolute()
    assert advised(result)[1:] == [
        f"training.output_dir={folder}", "training.caption_dropout=0.3", "--fork", "second-2"
    ]  # fmt: skip
    assert command(*advised(result)).status == 0
