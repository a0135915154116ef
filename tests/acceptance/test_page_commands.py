"""Every command, program and config that a page shows works, on small data and tiny models."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from forks import Ended, Forks
from page_folders import EXPORT, PageFolders, write_hub
from pages import PAGES, ROOT, Block, blocks, mentioned
from shells import Shell

from dit_run import load_config

EXCEPTIONS: Mapping[str, str] = {
    ".venv-test/bin/*": "checks of the project, which .ci/run calls",
    ".venv/bin/pip install *": "needs a network; .ci/release installs the wheel in a clean environment",
    "docker *": "needs a daemon; tests/acceptance/test_container.py runs the same steps in a clean root",
    "dit-run export * --push *": "uploads to a hub; tests/acceptance/test_push.py does so to one of its own",
    "dit-run plugins check lion": "needs the package of docs/plugins.md, whose test does so",
    "dit-run sample --size": "is an option of a command without its arguments",
    "dit-run plugins show": "is the name of a command without its argument",
    "dit-run view runs --host 0.0.0.0 --port 6110": "opens a port of its own choice to other machines",
    "hf auth login": "asks for a token of huggingface.co",
    "mlflow ui *": "needs the whole package mlflow, and serves until it is stopped",
    "pip install *": "needs a network",
    "python -m benchmarks*": "takes minutes, in the folder of the project; tests/unit/test_benchmarks.py has its parts",
    "python -m build dit-run-lion": "installs the build backend from the network",
    "python -m pytest dit-run-lion": "needs the package of docs/plugins.md, whose test does so",
    "python -m mkdocs serve": "serves until it is stopped; .ci/run builds the same site",
    "python -m tests.endurance": "takes half an hour; .ci/run does a part of it",
    "python3 -m venv *": "makes the environment in which the tests already run",
    "srun *": "needs Slurm",
    "ssh *": "needs another machine",
    "torchrun --nnodes 2 *": "needs two machines",
    "torchrun --shutdown-timeout 300": "is an option for a command without the command",
    "wandb sync *": "uploads to Weights & Biases",
}
"""Commands that are not run, and the reasons."""

TESTED_ALONE: Mapping[str, str] = {
    "docs/commands.md": "test_an_example_of_a_command_works: they do not follow one another",
    "docs/plugins.md": "test_plugins_tutorial.py",
    "docs/python.md": "test_python_docs.py",
}
"""Pages with tests of their own."""

GIVEN: Mapping[str, Mapping[str, str]] = {
    "docs/averages.md": {"mine.yaml": "own.yaml"},
    "docs/cache.md": {"mine.yaml": "own.yaml"},
    "docs/data.md": {"DATA": "photos", "RUN": "of scores"},
    "docs/export.md": {"outputs/shapes": "of shapes"},
    "docs/gpu.md": {"my.yaml": "own.yaml"},
    "docs/guidance.md": {"RUN": "of photos"},
    "docs/metrics.md": {"outputs/mine": "of photos"},
    "docs/optimizers.md": {"config.yaml": "own.yaml"},
    "docs/sampling.md": {"outputs/mine": "of photos"},
    "docs/view.md": {"outputs/birds": "of photos", "runs/mine": "of photos"},
}
"""Files and folders that a page takes for granted, by their names there."""

EXAMPLES: Mapping[str, str] = {
    "mine.yaml": "own.yaml",
    "outputs/birds": "of photos",
    "runs/birds": "of photos",
    "runs/shapes": "of shapes",
}
"""Names in the examples of commands."""

NAMED: Mapping[str, str] = {
    **{name: "own.yaml" for name in ("A", "B", "CONFIG", "my.yaml")},
    **{name: "of photos" for name in ("NEW_PLACE", "RUN", "outputs/mine")},
    "DATA": "photos",
    "EXPORTED": EXPORT,
    "runs/small-lora": "of LoRA",
}
"""Names in the commands within a sentence."""

PLACEHOLDERS: Mapping[str, str] = {
    " ...": "",
    " [option=value …]": "",
    "--gpus N": "--gpus 64",
    "/path/to/images": "photos",
    "COMMAND": "train",
    "--average NAME": "--average ema",
    "--fork NEW": "--fork NEW training.max_steps=8",
    "CONFIG KEY": "CONFIG training.batch_size",
    "CONFIG SECTION": "CONFIG training",
    "CONFIG [key]": "CONFIG training",
    "KIND NAME": "optimizer lion",
    "NAME": "lion",
    "[CONFIG]": "CONFIG",
    "[FOLDER…]": "outputs",
    "check lion": "check muon",
    "count: 200": "count: 4",
    "guidance.checkpoint=500": "guidance.checkpoint=2",
    "image_size=512": "image_size=64",
    "key=value": "training.learning_rate=0.001",
    "max_steps=20000": "max_steps=8",
    "per-node N": "per-node 8",
    "prompts prompts.txt": "prompts photos/1.txt",
    "sample FOLDER": "sample EXPORTED",
    "|| break": "|| exit",  # with the status of the failed command, which break forgets
    "text_encoder.pretrained_model_name=/new/place": "text_encoder.pretrained_model_name=clip",
    "training.init_from=/new/place": "training.init_from=RUN",
    "…": "",
}
"""Values for the words that a page leaves to its reader, and for sizes that take minutes."""

TINY = (
    "model.hidden_size=16",
    "model.num_heads=2",
    "model.num_layers=1",
    "sampling.every_n_steps=null",
    "sampling.steps=2",
    "text_encoder.width=8",
    "training.batch_size=2",
    "training.device=cpu",
    "training.gradient_accumulation_steps=1",
    "training.max_steps=4",
    "training.num_workers=0",
    "training.save_steps=2",
    "validation.num_samples=2",
)
"""Values that shorten a config which ``dit-run init`` writes."""

WARM = (
    "diffusers.models.autoencoders.autoencoder_kl",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
)
"""Modules of the tiny models."""


def text_of(page: str) -> str:
    return PAGES[page].read_text(encoding="utf-8")


SHOWN: Mapping[str, list[Block]] = {page: blocks(text_of(page)) for page in PAGES if page not in TESTED_ALONE}
REFERENCE = blocks(text_of("docs/commands.md"))
SENTENCES = sorted({command for page in PAGES for command in mentioned(text_of(page))})
ALL = {*SENTENCES, *(command for page in PAGES for block in blocks(text_of(page)) for command in block.commands)}


def reason(command: str) -> str | None:
    """Return why a command is not run; None if it is."""
    return next((text for pattern, text in EXCEPTIONS.items() if fnmatchcase(command, pattern)), None)


def filled(command: str) -> str:
    """Return a command with values in place of what it leaves to the reader."""
    for placeholder, value in PLACEHOLDERS.items():
        command = command.replace(placeholder, value)
    return command


def once(commands: Iterable[str], elsewhere: Iterable[str] = ()) -> list[str]:
    """Return each command that is run, once, and none that is run elsewhere."""
    others = {filled(command) for command in elsewhere}
    found = {filled(command): command for command in commands if reason(command) is None}
    return sorted(command for words, command in found.items() if words not in others)


IN_BLOCKS = once(each for shown in SHOWN.values() for block in shown for each in block.commands)
IN_REFERENCE = once((each for block in REFERENCE for each in block.commands), IN_BLOCKS)
IN_SENTENCES = once(SENTENCES, [*IN_BLOCKS, *IN_REFERENCE])


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """A warm process that finds tiny models under names on the hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(write_hub(tmp_path_factory.mktemp("hub"))))
        with Forks(*WARM) as forks:
            yield forks


@pytest.fixture(scope="module")
def shell(warm: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    def adapted(words: list[str]) -> list[str]:
        return [*words, *TINY] if words[0] == "init" else words

    with Shell(warm, tmp_path_factory.mktemp("shell"), adapted) as shell:
        yield shell


@pytest.fixture(scope="module")
def folders(warm: Forks, tmp_path_factory: pytest.TempPathFactory) -> PageFolders:
    return PageFolders(tmp_path_factory.mktemp("pages"), warm)


def typed(shell: Shell, command: str, folder: Path) -> Ended:
    return shell.run(filled(command), folder, XDG_CACHE_HOME=str(folder / "cache"))


def prepared(folders: PageFolders, shell: Shell, folder: Path, given: Mapping[str, str]) -> Path:
    """Fill a folder with what a page takes for granted, and with the environment of its quick start."""
    folders.make(folder, given)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(shell.programs)
    return folder


def tried(shell: Shell, block: Block, folder: Path) -> Iterator[str]:
    """Do what a page shows in a block, and yield what failed."""
    if block.name:
        (folder / block.name).write_text(block.text)
    elif block.language == "python":
        ended = shell.execute(block.text, folder, XDG_CACHE_HOME=str(folder / "cache"))
        yield from () if ended.statuses == (0,) else (f">>> {block.text}\n{ended.output}",)
    for command in block.commands:
        if reason(command) is None:
            ended = typed(shell, command, folder)
            yield from () if ended.statuses == (0,) else (f"$ {command}\n{ended.output}",)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, shown in SHOWN.items() if any(block.commands for block in shown)])
def test_the_blocks_of_a_page_work_in_order(page: str, shell: Shell, folders: PageFolders, tmp_path: Path) -> None:
    folder = prepared(folders, shell, tmp_path / "here", GIVEN.get(page, {}))
    failed = [said for block in SHOWN[page] for said in tried(shell, block, folder)]
    assert not failed, "\n".join(failed)


@pytest.mark.slow
@pytest.mark.parametrize("command", IN_REFERENCE)
def test_an_example_of_a_command_works(command: str, shell: Shell, folders: PageFolders, tmp_path: Path) -> None:
    given = {name: source for name, source in EXAMPLES.items() if f"-o {name}" not in command}
    ended = typed(shell, command, prepared(folders, shell, tmp_path / "here", given))
    assert ended.statuses == (0,), ended.output


@pytest.mark.slow
@pytest.mark.parametrize("command", IN_SENTENCES)
def test_a_command_in_a_sentence_works(command: str, shell: Shell, folders: PageFolders, tmp_path: Path) -> None:
    ended = typed(shell, command, folders.make(tmp_path / "here", NAMED))
    assert ended.statuses == (0,), ended.output


@pytest.mark.parametrize("page", [page for page, shown in SHOWN.items() if any(b.language == "yaml" for b in shown)])
def test_a_config_in_a_page_is_valid(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").symlink_to(ROOT / "configs")
    for block in SHOWN[page]:
        path = Path(block.name or "config.yaml")
        path.write_text(block.text)
        if block.language == "yaml":
            notices = load_config(path).notices
            assert [notice.message for notice in notices if notice.code == "without-effect"] == []


def test_each_exception_is_still_in_a_page() -> None:
    assert [pattern for pattern in EXCEPTIONS if not any(fnmatchcase(each, pattern) for each in ALL)] == []
    assert all(EXCEPTIONS.values())


def has(texts: Iterable[str], name: str) -> bool:
    """Return True if one of the texts has the name, or the folder in which it lies, as a word."""
    words = {word.removeprefix("./") for text in texts for word in re.split(r"[\s\"']+", text)}
    return bool(words & {name, name.partition("/")[0]})


def test_each_name_that_is_given_is_still_used() -> None:
    used = {page: [block.text for block in SHOWN[page]] for page in GIVEN}
    assert [(page, name) for page, given in GIVEN.items() for name in given if not has(used[page], name)] == []
    assert [name for name in EXAMPLES if not has((block.text for block in REFERENCE), name)] == []
    assert [name for name in NAMED if not has(map(filled, SENTENCES), name)] == []
    assert [text for text in PLACEHOLDERS if not any(text in command for command in ALL)] == []


def test_each_extra_in_a_page_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        extra
        for each in ALL
        for names in re.findall(r"(?:dit-run|\.)\[([\w,]+)\]'", each)
        for extra in names.split(",")
    }
    assert {"view", "lora", "dev"} < named <= project["optional-dependencies"].keys()
