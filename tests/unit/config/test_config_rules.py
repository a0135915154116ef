"""Rules across keys: problems at the keys concerned, and adjusted defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from small_registry import COMPONENTS, Nothing, plugin

from dit_run import Component, Config, Kind, load_config
from dit_run.config.rule_checks import check_rules, latent_problems
from dit_run.problems import ConfigError, Problem
from dit_run.protocols import Adjustment, Facts, RuleContext
from dit_run.registry.registry import Registry

Load = Callable[..., Config]
Problems = Callable[..., list[Problem]]


def test_a_run_that_never_saves(problems: Problems) -> None:
    (problem,) = problems("training:\n  save_steps: null\n  save_every_n_epochs: null\n")
    assert (problem.code, str(problem.place)) == ("never-saved", "c.yaml:2:15")
    assert [str(place) for place in problem.related_places] == ["c.yaml:3:24"]


def test_one_way_of_saving_is_enough(load: Load) -> None:
    load("training: {save_steps: null}\n")
    load("training: {save_every_n_epochs: null}\n")


def test_guidance_without_caption_dropout(problems: Problems) -> None:
    (problem,) = problems("training: {caption_dropout: 0}\nsampling:\n  guidance_scale: 3\n")
    assert (problem.code, str(problem.place)) == ("guidance-untrained", "c.yaml:3:19")
    assert [str(place) for place in problem.related_places] == ["c.yaml:1:29"]


def test_default_guidance_without_caption_dropout_becomes_none(load: Load) -> None:
    config = load("training: {caption_dropout: 0}\n")
    assert config.sampling.guidance_scale == 1.0
    assert [notice.message for notice in config.notices] == [
        "sampling.guidance_scale is 1.0 instead of its default 4.0"
    ]


def test_a_random_crop_with_a_cache(problems: Problems) -> None:
    (problem,) = problems("data: {crop: random}\ncache: {mode: required}\n")
    assert (problem.code, str(problem.place)) == ("random-crop-cached", "c.yaml:2:15")
    assert [str(place) for place in problem.related_places] == ["c.yaml:1:14"]


@pytest.mark.parametrize("mode", ["", "cache: {mode: auto}\n"])
def test_a_random_crop_leaves_pictures_out_of_the_cache_and_says_so(load: Load, mode: str) -> None:
    config = load("data: {crop: random}\n" + mode)
    assert config.cache.mode == "auto"
    (notice,) = config.notices
    assert notice.message == (
        "data.crop is random: images are encoded in every step, and only caption states are cached"
    )
    assert str(notice.place) == "c.yaml:1:14"


def test_a_random_crop_without_a_cache_is_no_news(load: Load) -> None:
    assert load("data: {crop: random}\ncache: {mode: off}\n").notices == ()


def test_an_interval_that_runs_downwards(problems: Problems) -> None:
    (problem,) = problems("sampling: {guidance_interval: [0.8, 0.2]}\n")
    assert (problem.code, str(problem.place)) == ("empty-interval", "c.yaml:1:31")


def test_written_warmup_is_less_than_the_total(problems: Problems) -> None:
    (problem,) = problems("lr_scheduler: {warmup_steps: 100}\n", "training.max_steps=100")
    assert (problem.code, str(problem.place)) == ("warmup-too-long", "c.yaml:1:30")


def test_default_warmup_follows_the_total_each_time_it_is_known_better(load: Load) -> None:
    config = load("training: {max_steps: 400}\n")
    assert config.lr_scheduler.options.warmup_steps == 40
    config = check_rules(config, Facts(total_steps=300))
    assert config.lr_scheduler.options.warmup_steps == 30
    assert [notice.message for notice in config.notices] == [
        "lr_scheduler.warmup_steps is 30 instead of its default 500"
    ]
    config = check_rules(config, Facts(total_steps=3000))
    assert (config.lr_scheduler.options.warmup_steps, config.notices) == (500, ())


def test_later_facts_are_reported_at_the_place_of_the_key(load: Load) -> None:
    config = load("lr_scheduler: {warmup_steps: 100}\n")
    with pytest.raises(ConfigError) as caught:
        check_rules(config, Facts(total_steps=50))
    assert [str(problem.place) for problem in caught.value.problems] == ["c.yaml:1:30"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("data: {image_size: 64}", []),
        ("data: {image_size: 72}", [("data", "image_size")]),
        ("data: {image_size: 72}\nmodel: {patch_size: 1}", []),
        ("model: {in_channels: 3}", [("model", "in_channels")]),
    ],
)
def test_what_latents_need(load: Load, text: str, found: list[tuple[str, ...]]) -> None:
    assert [problem.path for problem in latent_problems(load(text), factor=8, channels=4)] == found


def test_channels_that_are_not_written_are_those_of_the_latents(load: Load) -> None:
    config = check_rules(load("data: {image_size: 64}"), Facts(latent_channels=16, latent_factor=8))
    assert (config.model.options.in_channels, config.notices) == (16, ())
    assert check_rules(config).model.options.in_channels == 4
    with pytest.raises(ConfigError) as caught:
        check_rules(load("model: {in_channels: 3}"), Facts(latent_channels=16))
    assert [problem.code for problem in caught.value.problems] == ["channels-do-not-fit"]


def test_sizes_that_fit_are_named(load: Load) -> None:
    (problem,) = latent_problems(load("data: {image_size: 72}"), factor=8)
    assert problem.help == ("set data.image_size to 64 or 80",)


def test_varied_captions_with_a_required_cache(problems: Problems) -> None:
    (problem,) = problems('data: {tag_separator: ",", tag_dropout: 0.1}\ncache: {mode: required}\n')
    assert (problem.code, str(problem.place)) == ("varied-captions-cached", "c.yaml:2:15")
    assert [str(place) for place in problem.related_places] == ["c.yaml:1:41"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("shuffle_tags: true", "data.shuffle_tags has no effect: data.tag_separator is null"),
        (
            'tag_separator: ",", keep_tags: 1',
            "data.keep_tags has no effect: data.shuffle_tags is false and data.tag_dropout is 0",
        ),
        (
            'tag_separator: ",", shuffle_tags: true',
            "data.shuffle_tags is set: captions are encoded in every step, and only latents are cached",
        ),
    ],
)
def test_tags_that_change_nothing_or_more_than_expected_are_noticed(load: Load, text: str, message: str) -> None:
    assert [notice.message for notice in load(f"data: {{{text}}}\n").notices] == [message]


def test_a_template_needs_the_place_of_the_caption(problems: Problems) -> None:
    (problem,) = problems("data: {caption_template: a photo}\n")
    assert (problem.code, problem.path) == ("bad-form", ("data", "caption_template"))


# ------------------------------------------------------------------------------------------------ rules of strangers


def divides_by_zero(context: RuleContext) -> Iterator[Problem]:
    yield Problem("never", str(1 / 0))


def adjusts_what_is_written(context: RuleContext) -> Iterator[Adjustment]:
    yield Adjustment(("training", "seed"), 1, "why not")


def gives_a_string(context: RuleContext) -> Iterator[str]:
    yield "no"


def speaks_of_defaults(context: RuleContext) -> Iterator[Problem]:
    yield Problem("odd", "odd defaults", ("training", "batch_size"), related=(("training", "num_epochs"),))


def warns(context: RuleContext) -> Iterator[Problem]:
    yield Problem("slow", "this is slow", context.path, severity="notice")


def with_rule(name: str) -> Registry:
    ruled = Component(Kind.VAE, "autoencoder_kl", Nothing, "nowhere:build", (f"test_config_rules:{name}",))
    return Registry((plugin("small", *(c for c in COMPONENTS if c.kind is not Kind.VAE), ruled),))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("divides_by_zero", "failed: ZeroDivisionError: division by zero"),
        ("adjusts_what_is_written", "failed: ValueError: it adjusts training.seed, which the config sets"),
        ("gives_a_string", "failed: TypeError: it returned 'no', which is neither a Problem nor an Adjustment"),
        ("missing", "failed: AttributeError: module 'test_config_rules' has no attribute 'missing'"),
    ],
)
def test_a_rule_that_fails_is_named(write: Callable[..., str], rule: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write("training: {seed: 2}\n"), registry=with_rule(rule))
    (problem,) = caught.value.problems
    assert problem.message == f"the rule test_config_rules:{rule} of vae.autoencoder_kl {message}"


def test_a_problem_of_defaults_is_shown_at_the_nearest_section(write: Callable[..., str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write("training: {seed: 2}\n"), registry=with_rule("speaks_of_defaults"))
    assert [str(problem.place) for problem in caught.value.problems] == ["c.yaml:1:11"]


def test_a_notice_stops_nothing(write: Callable[..., str]) -> None:
    config = load_config(write("vae: {}\n"), registry=with_rule("warns"))
    assert [(notice.code, str(notice.place)) for notice in config.notices] == [("slow", "c.yaml:1:6")]


@dataclass(frozen=True, kw_only=True)
class Picky:
    """Refuses odd sizes on its own."""

    size: int = 2

    def __post_init__(self) -> None:
        if self.size % 2:
            raise ValueError(f"{self.size} is odd")


def test_options_that_refuse_their_values_are_named(write: Callable[..., str]) -> None:
    picky = Component(Kind.CALLBACK, "picky", Picky, "nowhere:build")
    registry = Registry((plugin("small", *COMPONENTS, picky),))
    with pytest.raises(ConfigError) as caught:
        load_config(write("callbacks:\n  - {type: picky, size: 3}\n"), registry=registry)
    (problem,) = caught.value.problems
    assert (problem.message, str(problem.place)) == ("callback.picky refuses its options: 3 is odd", "c.yaml:2:5")
