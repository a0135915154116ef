"""Trackers, metrics and callbacks that break one promise each."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from faults import Nothing, fault, keep
from PIL import Image

from dit_run.protocols import Callback, Progress
from dit_run.registry.components import Kind


class Lines:
    """One line per logged value; a test breaks a part of it."""

    command: Any = ""

    def __init__(self, run_dir: Path, start_step: int) -> None:
        self.path, self.lines = run_dir / "values.txt", []  # type: list[str]
        if self.path.exists():
            kept = self.path.read_text().splitlines()
            self.path.write_text("".join(f"{line}\n" for line in kept if int(line.split()[0]) <= start_step))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.lines += [f"{step} {name} {value}\n" for name, value in values.items()]

    def image(self, step: int, name: str, image: Image.Image) -> None: ...

    def text(self, step: int, name: str, text: str) -> None: ...

    def flush(self) -> None:
        with self.path.open("a") as file:
            file.writelines(self.lines)
        self.lines.clear()

    def close(self) -> None:
        self.flush()


def tracker(cls: type) -> Any:
    def build(options: Nothing, *, run_dir: Path, start_step: int) -> Any:
        return cls(run_dir, start_step)

    return build


def test_a_file_of_lines_keeps_the_contract() -> None:
    keep(Kind.TRACKER, tracker(Lines))


def test_a_tracker_without_text() -> None:
    class Silent(Lines):
        text = None  # type: ignore[assignment]

    assert fault(Kind.TRACKER, tracker(Silent)) == (
        "Silent has no method text(); add it, with an empty body if there is nothing to do"
    )


def test_a_tracker_without_command() -> None:
    class Unwatched(Lines):
        command = None

    assert fault(Kind.TRACKER, tracker(Unwatched)) == (
        "Tracker.command is None; set it to a string (dit_run.protocols.Tracker)"
    )


def test_a_tracker_of_fixed_names() -> None:
    class Fixed(Lines):
        def log(self, step: int, values: Mapping[str, float]) -> None:
            values["loss"], values["validation/loss_ema"]

    assert fault(Kind.TRACKER, tracker(Fixed)) == (
        "log (other names at a later step) raised KeyError: 'validation/loss_ema'; "
        "a tracker must accept all that a run logs"
    )


def test_a_tracker_that_wants_a_loss() -> None:
    class Wanting(Lines):
        def log(self, step: int, values: Mapping[str, float]) -> None:
            values["loss"]

    assert fault(Kind.TRACKER, tracker(Wanting)) == (
        "log (a step without a loss) raised KeyError: 'loss'; a tracker must accept all that a run logs"
    )


def test_a_tracker_that_refuses_what_is_not_finite() -> None:
    class Finite(Lines):
        def log(self, step: int, values: Mapping[str, float]) -> None:
            [int(value) for value in values.values()]

    assert fault(Kind.TRACKER, tracker(Finite)) == (
        "log (a loss that is not finite) raised ValueError: cannot convert float NaN to integer; "
        "a tracker must accept all that a run logs"
    )


def test_a_tracker_that_writes_when_it_is_closed() -> None:
    class Late(Lines):
        def flush(self) -> None: ...

        def close(self) -> None:
            super().flush()

    assert fault(Kind.TRACKER, tracker(Late)) == (
        "after flush() there is nothing in the run folder, and 71 bytes after close(); "
        "write the logged values in flush()"
    )


def test_a_tracker_that_keeps_later_steps() -> None:
    class Appending(Lines):
        def __init__(self, run_dir: Path, start_step: int) -> None:
            super().__init__(run_dir, 1_000_000)

    assert fault(Kind.TRACKER, tracker(Appending)) == (
        "values.txt still has what an earlier run logged for step 2 after the run continued at step 1, and step 2 was "
        "logged again; delete values later than start_step when the tracker is built, or leave out steps that were "
        "logged before"
    )


# --------------------------------------------------------------------------------------------------------------- metric


class Brightness:
    """The mean of all pixels; a test breaks a part of it."""

    count: Any = 4

    def prompts(self, count: int) -> Any:
        return [f"image {index}" for index in range(count)]

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Any:
        levels = [sum(image.convert("L").tobytes()) for image in images]
        return {"mean": sum(levels) / len(levels)}


def metric(cls: type) -> Any:
    return lambda options: cls()


def test_a_mean_keeps_the_contract() -> None:
    keep(Kind.METRIC, metric(Brightness))


def test_a_metric_on_held_out_captions_keeps_the_contract() -> None:
    class HeldOut(Brightness):
        def prompts(self, count: int) -> Any:
            return None

    keep(Kind.METRIC, metric(HeldOut))


def test_a_metric_without_score() -> None:
    class Mute(Brightness):
        score = None  # type: ignore[assignment]

    assert fault(Kind.METRIC, metric(Mute)) == "Mute has no method score(); see dit_run.protocols.Metric"


def test_a_metric_of_no_images() -> None:
    class Idle(Brightness):
        count = 0

    assert fault(Kind.METRIC, metric(Idle)) == (
        "Metric.count is 0; set it to the number of images to score, at least 1"
    )


def test_a_metric_with_too_few_prompts() -> None:
    class Few(Brightness):
        def prompts(self, count: int) -> Any:
            return ["one"]

    assert fault(Kind.METRIC, metric(Few)) == (
        "prompts(4) returned 1 items; return 4 strings, or None for held-out captions"
    )


def test_a_metric_that_draws_its_prompts() -> None:
    class Drawing(Brightness):
        def prompts(self, count: int) -> Any:
            return [str(random.random()) for _ in range(count)]

    assert fault(Kind.METRIC, metric(Drawing)) == (
        "prompts(4) differ after a second build; use no random numbers, because scores of two runs must be comparable"
    )


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (0.5, "score() returned float; return a mapping of names to floats"),
        ({}, "score() returned nothing; return at least one named number"),
        ({"mean": "high"}, "score 'mean' is 'high'; return a finite Python float"),
        ({"mean": float("nan")}, "score 'mean' is nan; return a finite Python float"),
    ],
)
def test_scores_that_are_none(scores: Any, message: str) -> None:
    class Odd(Brightness):
        def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Any:
            return scores

    assert fault(Kind.METRIC, metric(Odd)) == message


def test_scores_that_are_drawn() -> None:
    scores = iter([0.25, 0.75])

    class Lottery(Brightness):
        def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Any:
            return {"luck": next(scores)}

    assert fault(Kind.METRIC, metric(Lottery)) == (
        "score 'luck' is 0.25 and then 0.75 for the same images; use no random numbers"
    )


def test_a_metric_that_paints() -> None:
    class Painting(Brightness):
        def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Any:
            images[0].putpixel((0, 0), (0, 0, 0))
            return {"mean": 0.0}

    assert fault(Kind.METRIC, metric(Painting)) == "score() changed an image; work on a copy"


# ------------------------------------------------------------------------------------------------------------- callback


class Watching:
    def on_step_end(self, progress: Progress) -> None: ...


def test_one_event_keeps_the_contract() -> None:
    keep(Kind.CALLBACK, lambda options: Watching())


def test_a_callback_without_events() -> None:
    assert fault(Kind.CALLBACK, lambda options: object()) == (
        "it has none of the methods of a callback: on_train_start, on_step_end, on_checkpoint_saved, on_sample, "
        "on_train_end"
    )


def test_a_callback_that_overrides_no_event() -> None:
    class Idle(Callback):
        """Does nothing."""

    assert fault(Kind.CALLBACK, lambda options: Idle()).startswith("it has none of the methods of a callback: ")


def test_a_misspelt_event() -> None:
    class Misspelt(Watching):
        def on_step_ended(self, progress: Progress) -> None: ...

    assert fault(Kind.CALLBACK, lambda options: Misspelt()) == (
        "Misspelt.on_step_ended() is never called (did you mean on_step_end()?); the methods of a callback are "
        "on_train_start, on_step_end, on_checkpoint_saved, on_sample, on_train_end"
    )


def test_a_callback_that_expects_values_that_are_not_there() -> None:
    class Eager(Watching):
        def on_train_start(self, progress: Progress) -> None:
            progress.values["loss"]

    assert fault(Kind.CALLBACK, lambda options: Eager()) == (
        "on_train_start(progress) raised KeyError: 'loss'; a run reports it as a failure"
    )


def test_a_metric_that_remembers() -> None:
    class Counting(Brightness):
        calls = 0

        def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Any:
            self.calls += 1
            return {"calls": float(self.calls)}

    assert fault(Kind.METRIC, metric(Counting)).startswith("a second score() returns {'calls': 2.0}, and the first one")


def test_a_metric_that_takes_prompts_away() -> None:
    class Emptying(Brightness):
        def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Any:
            prompts.clear()  # type: ignore[attr-defined]
            return {"mean": 0.0}

    assert fault(Kind.METRIC, metric(Emptying)) == "score() changed the list of prompts; work on a copy"
