"""`validate`, `explain`, `diff` and `schema` on the command line."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dit_run import load_config
from dit_run.cli.main import main
from dit_run.config.dump import run_config
from dit_run.config.reference import reference
from dit_run.config.schema import compose
from dit_run.registry.registry import discover

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
HEAVY = ("torch", "transformers", "diffusers", "numpy", "PIL")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a new folder with the files given: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **files: str) -> tuple[int, str, str]:
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        status = main(list(arguments))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


# ----------------------------------------------------------------------------------------------------------- validate


def test_valid_configs(run: Run) -> None:
    assert run("validate", "a.yaml", "b.yaml", a="training: {seed: 1}\n", b="") == (
        0,
        "a.yaml: valid\nb.yaml: valid\n",
        "",
    )


def test_many_files_are_checked_whatever_comes_first(run: Run) -> None:
    status, out, err = run("validate", "a.yaml", "b.yaml", "no.yaml", a="training: {sed: 1}\n", b="")
    assert (status, out) == (2, "b.yaml: valid\n")
    assert "a.yaml: 1 problem\n" in err
    assert "error[missing-file]: cannot read no.yaml: the file does not exist" in err


def test_arguments_are_checked_on_top_of_each_file(run: Run) -> None:
    status, _, err = run("validate", "a.yaml", "training.seed=x", a="")
    assert status == 2
    assert err == (
        "error[wrong-type]: training.seed takes a whole number of at least 0 and below 9223372036854775808, "
        "not the string 'x'\n"
        " --> command line:1:15\n"
        "  |\n"
        "1 | training.seed=x\n"
        "  |               ^\n"
        "\n"
        "what the code means: dit-run explain wrong-type\n"
        "a.yaml: 1 problem\n"
    )


def test_a_notice_leaves_the_config_valid(run: Run) -> None:
    status, out, err = run("validate", "a.yaml", a="training: {caption_dropout: 0}\n")
    assert (status, out) == (0, "a.yaml: valid\n")
    assert err.startswith("notice[adjusted-default]: sampling.guidance_scale is 1.0 instead of its default 4.0\n")


def test_json(run: Run) -> None:
    status, out, _ = run("validate", "a.yaml", "b.yaml", "--format", "json", a="training:\n  sed: 1\n", b="")
    assert status == 2
    first, second = json.loads(out)
    assert second == {"config": "b.yaml", "valid": True, "problems": []}
    assert (first["config"], first["valid"]) == ("a.yaml", False)
    (problem,) = first["problems"]
    assert problem["code"] == "unknown-key"
    assert problem["key"] == "training.sed"
    assert problem["place"] == {"source": "a.yaml", "line": 2, "column": 3, "length": 3}
    assert problem["help"][0] == "did you mean 'seed'?"


def test_github(run: Run) -> None:
    status, out, _ = run("validate", "a.yaml", "--format", "github", a="training:\n  seed: 1%\n")
    assert status == 2
    assert out == (
        "::error file=a.yaml,line=2,col=9,endColumn=11,title=wrong-type::training.seed takes a whole number of at "
        "least 0 and below 9223372036854775808, not the string '1%25'\n"
    )


def test_no_config_is_an_error(run: Run) -> None:
    assert run("validate", "training.seed=1") == (2, "", "error: no config is given; name a YAML file\n")


def test_plugin_files_can_be_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "never_imported.py").write_text("raise SystemExit('imported')\n")
    status, _, err = run("validate", "a.yaml", "--no-config-plugins", a="plugins: [never_imported.py]\n")
    assert status == 2
    assert err.startswith("error[plugins-refused]: the config names plugin files, which --no-config-plugins refuses")


def test_a_plugin_file_that_fails_is_named_at_its_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken_for_validate.py").write_text("import nowhere_at_all\n")
    text = "plugins:\n  - broken_for_validate.py\n  - absent.py\n"
    status, out, _ = run("validate", "a.yaml", "--format", "json", a=text)
    places = [(problem["place"]["line"], problem["code"]) for problem in json.loads(out)[0]["problems"]]
    assert (status, places) == (2, [(2, "plugin-failed"), (3, "plugin-failed")])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_are_valid_and_find_the_schema(path: Path, run: Run) -> None:
    assert run("validate", str(path))[0] == 0
    assert path.read_text().splitlines()[0] == "# yaml-language-server: $schema=../schemas/dit-run.schema.json"


@pytest.mark.slow
def test_colours_on_a_terminal_only(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("training: {sed: 1}\n")
    command = [sys.executable, "-m", "dit_run", "validate", "a.yaml"]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    piped = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert b"\x1b" not in piped.stderr
    assert b"\x1b[1;31merror[unknown-key]\x1b[0m" in _on_terminal(command, tmp_path, environment)
    assert b"\x1b" not in _on_terminal(command, tmp_path, environment | {"NO_COLOR": "1"})


def _on_terminal(command: list[str], folder: Path, environment: dict[str, str]) -> bytes:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 4096):
            text += chunk
    except OSError:
        pass
    os.close(ours)
    process.wait()
    return text


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import dit_run",
        "import dit_run, dit_run.registry.registry as r; [r.discover().components(kind) for kind in dit_run.Kind]",
        "import dit_run.registry.registry as r, dit_run.config.schema as s; s.compose(r.discover(), editor=True)",
        f"from dit_run.cli.main import main; main(['validate', *{[str(path) for path in CONFIGS]!r}])",
        f"from dit_run.cli.main import main; main(['explain', {str(CONFIGS[0])!r}])",
        "from dit_run.cli.main import main; main([])",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    check = f"{code}\nimport sys; print('heavy:', *(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy:"


# ------------------------------------------------------------------------------------------------------------ explain


def test_explain_shows_every_key_with_its_origin_and_meaning(run: Run) -> None:
    text = "extends: base.yaml\ntraining:\n  batch_size: 4\n"
    status, out, _ = run("explain", "a.yaml", "training.logging_steps=3", a=text, base="training:\n  seed: 7\n")
    lines = out.splitlines()
    rows = [line.split() for line in lines if "." in line and not line.startswith(" ")]
    origins = {key: (value, " ".join(origin)) for key, value, *origin in rows}
    assert status == 0
    assert origins["training.batch_size"] == ("4", "a.yaml:3:15")
    assert origins["training.seed"] == ("7", "base.yaml:2:9")
    assert origins["training.logging_steps"] == ("3", "command line:1:24")
    assert origins["training.num_epochs"] == ("1000", "default")
    position = next(number for number, line in enumerate(lines) if line.startswith("training.batch_size"))
    assert lines[position + 1] == "    Samples per process and micro-step."


def test_explain_one_key(run: Run) -> None:
    status, out, _ = run("explain", "a.yaml", "training.batch_size", a="training: {batch_size: 4}\n")
    assert status == 0
    assert out == (
        "training.batch_size: 4\n"
        "  from a.yaml:1:24\n"
        "  takes a whole number of at least 1; default 96; may change when a run continues, with a note\n"
        "  Samples per process and micro-step.\n"
    )


def test_explain_a_default_that_a_rule_adjusted(run: Run) -> None:
    _, out, _ = run("explain", "a.yaml", "sampling.guidance_scale", a="training: {caption_dropout: 0}\n")
    assert out.splitlines()[:2] == ["sampling.guidance_scale: 1.0", "  from rule"]


def test_explain_as_json(run: Run) -> None:
    _, out, _ = run("explain", "a.yaml", "optimizer", "--format", "json", a="")
    explained = {item["key"]: item for item in json.loads(out)}
    assert explained["optimizer.type"]["value"] == "adamw"
    assert explained["optimizer.betas"]["default"] == [0.9, 0.999]


@pytest.mark.slow
def test_explain_what_the_model_costs(run: Run) -> None:
    status, out, _ = run("explain", str(ROOT / "configs" / "quickstart.yaml"), "--cost")
    assert status == 0
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "model 2,303,280 parameters 0.241 GFLOPs per sample",
        "text_encoder 1,452,416 parameters 0.067 GFLOPs per sample",
        "forward pass for latents 3 x 32 x 32 and 77 text tokens; a training step takes three times as many",
    ]


@pytest.mark.slow
def test_explain_the_cost_as_json(run: Run) -> None:
    _, out, _ = run("explain", str(ROOT / "configs" / "quickstart.yaml"), "--cost", "--format=json")
    model, _ = json.loads(out)["parts"]
    assert (model["name"], model["parameters"]) == ("model", 2_303_280)


def test_explain_keys_or_the_cost(run: Run) -> None:
    status, _, err = run("explain", "a.yaml", "model", "--cost", a="")
    assert status == 2
    assert "--cost takes no key, not model; explain keys in another call" in err


def test_explain_codes(run: Run) -> None:
    assert run("explain", "never-saved", "two-names")[:2] == (
        0,
        "never-saved\nNeither `save_steps` nor `save_every_n_epochs` saves it.\n\n"
        "two-names\nA key is written with its old and its new name. Keep the new one.\n",
    )
    assert json.loads(run("explain", "two-types", "--format", "json")[1]) == {
        "two-types": "Two forms of the type are written, and differ. Keep `type`."
    }


def test_explain_an_unknown_code(run: Run) -> None:
    status, _, err = run("explain", "two-names", "unknow-key")
    assert (status, err) == (2, "error: there is no code 'unknow-key'. did you mean 'unknown-key'?\n")


def test_a_config_that_is_named_like_a_code_is_a_config(run: Run) -> None:
    Path("unknown-key").write_text("training: {batch_size: 4}\n")
    assert run("explain", "unknown-key", "training.batch_size")[1].startswith("training.batch_size: 4\n")


def test_errors_end_with_the_command_that_explains_their_codes(run: Run) -> None:
    _, _, err = run("validate", "a.yaml", a="training: {bach_size: 4, seed: x, batch_siz: 2}\n")
    assert err.splitlines()[-2:] == [
        "what the codes mean: dit-run explain unknown-key wrong-type",
        "a.yaml: 3 problems",
    ]


def test_explain_an_unknown_key(run: Run) -> None:
    status, _, err = run("explain", "a.yaml", "training.bach_size", a="")
    assert status == 2
    assert "the config has no key 'training.bach_size'" in err
    assert "did you mean 'training.batch_size'?" in err


# --------------------------------------------------------------------------------------------------------------- diff


def test_diff_by_meaning(run: Run) -> None:
    a = "training: {batch_size: 96, seed: 1}\n"
    b = "# other\noptimizer: {type: adamw}\ntraining:\n  seed: 2\n  logging_steps: 5\n"
    assert run("diff", "a.yaml", "b.yaml", a=a, b=b)[:2] == (
        0,
        "training.seed: 1 -> 2\ntraining.logging_steps: 50 -> 5  (may change when a run continues)\n",
    )


def test_diff_of_what_means_the_same(run: Run) -> None:
    a, b = "training: {batch_size: 96}\n", "training: {batch_size: 9.6e1}\n"
    assert run("diff", "a.yaml", "b.yaml", "--exit-code", a=a, b=b)[:2] == (0, "no difference\n")


def test_diff_of_types_shows_keys_of_one_side(run: Run) -> None:
    _, out, _ = run("diff", "a.yaml", "b.yaml", a="", b="lr_scheduler: {type: warmup_stable_decay}\n")
    assert out.splitlines() == [
        "lr_scheduler.type: cosine -> warmup_stable_decay",
        "lr_scheduler.restarts: 0 -> (none)",
        "lr_scheduler.cycle_growth: 1.0 -> (none)",
        "lr_scheduler.decay_share: (none) -> 0.2",
        "lr_scheduler.decay_shape: (none) -> sqrt",
    ]


def test_diff_of_a_run_folder_and_its_config(run: Run, tmp_path: Path) -> None:
    run("validate", "a.yaml", a="training: {seed: 3}\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(run_config(load_config("a.yaml")))
    assert run("diff", "a.yaml", "run", "--exit-code")[:2] == (0, "no difference\n")
    assert run("diff", "b.yaml", "run", "--exit-code", b="")[:2] == (1, "training.seed: 42 -> 3\n")


# ------------------------------------------------------------------------------------------------------------- schema


def test_the_committed_schema_is_fresh() -> None:
    committed = json.loads((ROOT / "schemas" / "dit-run.schema.json").read_text())
    fresh = compose(discover(third_party=False), editor=True)
    assert committed == json.loads(json.dumps(fresh)), (
        "run: DIT_RUN_DISABLE_PLUGINS=1 dit-run schema -o schemas/dit-run.schema.json"
    )


def test_the_committed_reference_is_fresh() -> None:
    fresh = reference(discover(third_party=False))
    assert (ROOT / "docs" / "config.md").read_text() == fresh, (
        "run: DIT_RUN_DISABLE_PLUGINS=1 dit-run schema --reference -o docs/config.md"
    )


def test_schema_of_a_config_holds_its_own_plugins(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plugin_for_schema.py").write_text(
        "from dataclasses import dataclass\n"
        "from dit_run import Component, Kind, hookimpl\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Own:\n    stripes: int = 1\n"
        "@hookimpl\n"
        "def dit_run_components():\n    return [Component(Kind.OPTIMIZER, 'own', Own, 'plugin_for_schema:build')]\n"
        "def build(options): ...\n"
    )
    status, out, _ = run("schema", "a.yaml", "-o", "deep/schema.json", a="plugins: [plugin_for_schema.py]\n")
    assert (status, out) == (0, "wrote deep/schema.json\n")
    schema = json.loads((tmp_path / "deep" / "schema.json").read_text())
    assert schema["definitions"]["optimizer.own"]["properties"]["stripes"]["default"] == 1


# ------------------------------------------------------------------------------------------------------ the reference


def test_the_reference_config_gives_its_values_and_the_defaults() -> None:
    values = load_config(ROOT / "configs" / "train_config.yaml").to_dict()
    assert values["data"]["dataset_name"] == values["data"]["type"] == "cub"
    assert values["training"]["save_steps"] == 500
    assert values["training"]["ema_decay"] == 0.9999
    assert values["data"]["train_split"] == 0.9
    assert values["model"]["attention_head_dim"] == 64
    assert values["optimizer"]["betas"] == [0.9, 0.999]
    assert values["lr_scheduler"] == {
        "type": "cosine",
        "warmup_steps": 500,
        "warmup": None,
        "min_lr": 0.0,
        "restarts": 0,
        "cycle_growth": 1.0,
    }


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("data.dataset_name", "coco"), ("data.dataset_path", "./data"), ("data.image_size", 256),
        ("data.num_samples", 5000), ("data.train_split", 0.9), ("model.hidden_size", 768), ("model.num_layers", 16),
        ("model.num_heads", 12), ("model.patch_size", 2), ("model.in_channels", 4), ("model.out_channels", 4),
        ("model.mlp_ratio", 4.0), ("model.dropout", 0.1),
        ("vae.pretrained_model_name", "runwayml/stable-diffusion-v1-5"), ("vae.use_slicing", False),
        ("training.output_dir", "./outputs"), ("training.seed", 42), ("training.batch_size", 96),
        ("training.gradient_accumulation_steps", 1), ("training.learning_rate", 1e-4), ("training.num_epochs", 1000),
        ("training.save_every_n_epochs", 10), ("training.save_steps", 500), ("training.logging_steps", 50),
        ("training.mixed_precision", "bf16"), ("training.max_grad_norm", 1.0), ("training.use_ema", False),
        ("training.ema_decay", 0.9999), ("training.num_workers", 8), ("training.prefetch_factor", 4),
        ("training.compile_model", False), ("training.max_steps", None), ("training.caption_dropout", 0.1),
        ("training.save_total_limit", 3), ("training.init_from", None), ("training.device", "auto"),
        ("training.deterministic", False), ("scheduler.num_train_timesteps", 1000), ("scheduler.beta_start", 0.00085),
        ("scheduler.beta_end", 0.012), ("scheduler.beta_schedule", "scaled_linear"),
        ("scheduler.prediction_type", "epsilon"),
        ("text_encoder.pretrained_model_name", "openai/clip-vit-base-patch32"), ("optimizer.type", "adamw"),
        ("optimizer.weight_decay", 0.01), ("optimizer.betas", [0.9, 0.999]), ("lr_scheduler.type", "cosine"),
        ("lr_scheduler.warmup_steps", 500),
    ],
)  # fmt: skip
def test_every_original_key_keeps_its_default(key: str, default: object, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("")
    section, name = key.split(".")
    assert load_config(tmp_path / "empty.yaml").to_dict()[section][name] == default
