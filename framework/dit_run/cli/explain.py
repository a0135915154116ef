"""``dit-run explain CONFIG [key]``: keys with values, origins and documentation; or the meaning of a code."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_run.cli.common_options import add_plugin_flags, installed, keys_and_overrides, print_notices, read_config
from dit_run.cli.problem_rendering import json_text, value_text
from dit_run.config.code_texts import code_texts
from dit_run.config.explanation import Explanation, explanations
from dit_run.config.keys import key_name
from dit_run.config.suggestions import did_you_mean
from dit_run.options import MISSING
from dit_run.problems import InputError

if TYPE_CHECKING:
    from dit_run.settings import Config

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject", metavar="CONFIG|CODE", help="config file (YAML), or the code of a problem, such as unknown-key"
    )
    parser.add_argument(
        "words", metavar="key|key=value", nargs="*", default=[], help="key or section to explain, or a value to replace"
    )
    parser.add_argument(
        "--cost", action="store_true", help="show parameters and operations of the model instead of keys (loads torch)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="output format (default: text)")
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    codes = {} if Path(arguments.subject).exists() else code_texts()
    if arguments.subject in codes:
        return _explain_codes([arguments.subject, *arguments.words], codes, arguments.format)
    keys, overrides = keys_and_overrides(arguments.words)
    config = read_config(arguments.subject, overrides, arguments, installed(arguments)).config
    if arguments.cost:
        return _explain_cost(config, keys, arguments.format)
    found = [item for key in keys for item in explanations(config, key)] if keys else explanations(config)
    print_notices(config, arguments)
    if arguments.format == "json":
        print(json_text([_plain(item) for item in found]))
    elif keys:
        print("\n\n".join(_paragraph(item) for item in found))
    else:
        print("\n".join(_table(found)))
    return 0


def _explain_codes(words: Sequence[str], codes: Mapping[str, str], form: str) -> int:
    unknown = [word for word in words if word not in codes]
    if unknown:
        raise InputError(" ".join([f"there is no code {unknown[0]!r}.", *did_you_mean(unknown[0], codes)]))
    found = {code: codes[code] for code in words}
    print(json_text(found) if form == "json" else "\n\n".join(f"{code}\n{text}" for code, text in found.items()))
    return 0


def _explain_cost(config: Config, keys: Sequence[str], form: str) -> int:
    from dit_run.assembly.model_cost import cost_of

    if keys:
        raise InputError(f"--cost takes no key, not {', '.join(keys)}; explain keys in another call")
    cost = cost_of(config)
    if form == "json":
        print(json_text(asdict(cost)))
        return 0
    whole = all(part.trained == part.parameters for part in cost.parts)
    for part in cost.parts:
        share = "" if whole else f"  {part.trained:>13,} of them trained"
        print(f"{part.name:<12}  {part.parameters:>13,} parameters{share}  {part.flops / 1e9:>9,.3f} GFLOPs per sample")
        if part.training_flops != part.flops:
            less = 1 - part.training_flops / part.flops
            print(f"{'':<12}  {part.training_flops / 1e9:,.3f} GFLOPs in training, {less:.0%} less")
    size = " x ".join(map(str, cost.latents))
    print(
        f"forward pass for latents {size} and {cost.text_length} text tokens; a training step takes "
        f"{'' if whole else 'two to '}three times as many"
    )
    return 0


def _table(found: Sequence[Explanation]) -> list[str]:
    """Return a line with key, value and origin, and one with the documentation, for each key."""
    names = [key_name(item.path) for item in found]
    values = [value_text(item.value) for item in found]
    name_width, value_width = max(map(len, names)), min(40, max(map(len, values)))
    lines = []
    for name, value, item in zip(names, values, found, strict=True):
        lines.append(f"{name:<{name_width}}  {value:<{value_width}}  {item.origin}")
        lines += [f"    {line}" for line in item.text.split("\n\n")[0].splitlines()]
    return lines


def _paragraph(item: Explanation) -> str:
    default = "must be written" if item.default is MISSING else f"default {value_text(item.default)}"
    changing = "; may change when a run continues" if item.operational or item.adjustable else ""
    notes = f"{item.expected}; {default}{changing}{', with a note' if item.adjustable else ''}"
    lines = [f"{key_name(item.path)}: {value_text(item.value)}", f"  from {item.origin}", f"  takes {notes}"]
    return "\n".join(lines + [f"  {line}" for line in item.text.splitlines()])


def _plain(item: Explanation) -> dict[str, Any]:
    default = {} if item.default is MISSING else {"default": item.default}
    return {
        "key": key_name(item.path),
        "value": item.value,
        "origin": item.origin,
        "expected": item.expected,
        **default,
        "operational": item.operational,
        "adjustable": item.adjustable,
        "description": item.text,
    }
