"""``dit-run plugins``: list plugins, show the options of a component, or check its contract."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from dit_run.cli.common_options import add_plugin_flags, installed, keys_and_overrides
from dit_run.config.describe import expected, meaning
from dit_run.config.dump import to_yaml
from dit_run.config.resolve import registry_of
from dit_run.options import Option, documentation, options_of, summary
from dit_run.problems import InputError
from dit_run.registry.components import Component, Kind
from dit_run.registry.registry import Origin, Plugin, Registry

__all__ = ["configure", "example", "run"]

_NARROWEST, _WIDEST = 80, 120
_ORIGINS = {Origin.BUILT_IN: "built in", Origin.INSTALLED: "installed", Origin.FILE: "file"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", choices=("list", "show", "check"), default="list", help="list (the default), show or check"
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="NAME",
        help="show: components such as optimizer.adamw; check: an entry point, a type, a distribution or a file, and "
        "option=value for its factory",
    )
    parser.add_argument("--config", metavar="FILE", help="include the plugin files of this config")
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    registry = installed(arguments)
    if arguments.config is not None:
        registry = registry_of(arguments.config, registry, config_plugins=not arguments.no_config_plugins)
    if arguments.action == "check":
        return _check(arguments.words, registry)
    shown = _listing(registry, arguments.verbose) if arguments.action == "list" else _show(arguments.words, registry)
    print("\n".join(shown))
    return 0


# ---------------------------------------------------------------------------------------------------------------- list


def _listing(registry: Registry, verbose: bool) -> Iterator[str]:
    rows = [_row(plugin, registry) for plugin in registry.plugins]
    yield from _table([("plugin", "version", "contract", "from", "components", "state"), *rows])
    for plugin in registry.failed:
        assert plugin.failure is not None
        yield ""
        yield f"plugin {plugin} did not load: {plugin.failure.message}"
        if verbose:
            yield textwrap.indent(plugin.failure.traceback.rstrip(), "    ")
    if registry.failed and not verbose:
        yield ""
        yield "dit-run plugins -v shows where"


def _row(plugin: Plugin, registry: Registry) -> tuple[str, ...]:
    origin = _ORIGINS[plugin.origin]
    source = plugin.source if plugin.origin is Origin.FILE else f"{plugin.distribution}, {origin}"
    kinds = list(Kind)
    components = sorted(plugin.components, key=lambda component: kinds.index(component.kind))
    names = ", ".join(component.name for component in components) or "none"
    states = "; ".join(_states(plugin, registry)) or "ok"
    return plugin.name, plugin.version or "-", str(plugin.contract or "-"), source, names, states


def _states(plugin: Plugin, registry: Registry) -> Iterator[str]:
    if plugin.failure:
        yield "failed"
    for component in plugin.components:
        rivals = registry.rivals(component.kind, component.type)
        if plugin not in rivals:
            yield f"{component.name} is shadowed by {' and '.join(rival.name for rival in rivals)}"
        elif len(rivals) > 1:
            others = " and ".join(_short(rival) for rival in rivals if rival is not plugin)
            yield f"{component.name} is offered by {others} too"
        elif shadowed := registry.shadowing(component.kind, component.type):
            yield f"{component.name} shadows that of {' and '.join(other.name for other in shadowed)}"


def _short(plugin: Plugin) -> str:
    """Return the plugin's name without the folder of its file, which would fill the column."""
    return plugin.name if plugin.origin is Origin.FILE else str(plugin)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows in columns of the needed width; the last two columns share the rest of the line and wrap."""
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    fixed = widths[:-2]
    left = max(width - sum(fixed) - 2 * len(fixed), 40)
    last = min(widths[-1], max(left // 3, left - widths[-2] - 2))
    for row in rows:
        yield from _wrapped(row, [*fixed, min(widths[-2], left - last - 2), last])


def _wrapped(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    cells = [textwrap.wrap(cell, width, break_on_hyphens=False) for cell, width in zip(row, widths, strict=True)]
    for line in range(max(len(cell) for cell in cells)):
        parts = [
            (cell[line] if line < len(cell) else "").ljust(width) for cell, width in zip(cells, widths, strict=True)
        ]
        yield "  ".join(parts).rstrip()


# ---------------------------------------------------------------------------------------------------------------- show


def _show(names: Sequence[str], registry: Registry) -> Iterator[str]:
    if not names:
        raise InputError("give the name of a component, for example: dit-run plugins show optimizer.adamw")
    for position, name in enumerate(names):
        if position:
            yield ""
        yield from _component(*_meant(name, registry), registry)


def _meant(name: str, registry: Registry) -> tuple[Kind, str]:
    """Return the kind and type of ``optimizer.adamw``, or of a type alone if only one kind has it."""
    kind, dot, type_ = name.partition(".")
    if dot and kind in list(Kind):
        return Kind(kind), type_
    kinds = [known for known in Kind if name in registry.types(known)]
    if len(kinds) == 1:
        return kinds[0], name
    if kinds:
        raise InputError(f"{name} means {' or '.join(f'{known}.{name}' for known in kinds)}; write one of them")
    raise InputError(
        f"there is no component {name!r}; write kind.type, such as optimizer.adamw (dit-run plugins lists all "
        "components)"
    )


def _component(kind: Kind, type_: str, registry: Registry) -> Iterator[str]:
    component, plugin = registry.component(kind, type_), registry.plugin(kind, type_)
    yield component.name
    yield ""
    yield from textwrap.wrap(summary(component.options), 100)
    yield ""
    yield f"plugin    {plugin}, {_ORIGINS[plugin.origin]}"
    yield f"factory   {_reference(component)}"
    for rule in component.rules:
        yield f"rule      {rule}"
    for other in registry.shadowing(kind, type_):
        yield f"shadows   that of {other}"
    common = kind.spec.common
    if options_of(component.options):
        yield ""
        yield from _table([("key", "default", "takes", "meaning"), *_options(component.options)])
    if common:
        yield ""
        yield f"every {kind}:"
        yield from _table([("key", "default", "takes", "meaning"), *_options(common)])
    yield ""
    yield "example:"
    yield textwrap.indent(example(component), "    ").rstrip()


def _reference(component: Component) -> str:
    factory = component.factory
    return factory if isinstance(factory, str) else f"{factory.__module__}:{factory.__qualname__}"


def _options(cls: type) -> Iterator[tuple[str, ...]]:
    texts = documentation(cls)
    for option in options_of(cls):
        default = "must be written" if option.required else json.dumps(option.default, ensure_ascii=False)
        yield option.name, default, expected(option.schema), meaning(option, texts.get(option.name, ""))


def example(component: Component) -> str:
    """Return a block of a config that chooses the component, with its own options at their defaults."""
    values: dict[str, object] = {"type": component.type}
    values |= {option.name: _sample(option) for option in options_of(component.options)}
    return to_yaml({component.kind.section: [values] if component.kind.listed else values})


def _sample(option: Option) -> object:
    """Return the default, or a value of the right type for a required key."""
    if not option.required:
        return option.default
    if option.components is not None:
        return [{"type": Kind(option.components.kind).default_type}]
    kinds = option.schema["type"]
    if "enum" in option.schema:
        return option.schema["enum"][0]
    samples = {"string": "...", "array": [], "boolean": True, "integer": 1, "number": 1.0, "null": None}
    return samples[kinds if isinstance(kinds, str) else kinds[0]]


# --------------------------------------------------------------------------------------------------------------- check


def _check(words: Sequence[str], registry: Registry) -> int:
    names, given = keys_and_overrides(words)
    if len(names) != 1:
        raise InputError("give one name to check: an entry point, a type, a distribution or a file")
    name = names[0]
    if name.endswith(".py"):
        registry = registry.with_file(Path(name))
    from dit_run.testing.contract_report import check

    findings = check(name, given, registry)
    for finding in findings:
        print(f"{finding.state:<7}  {finding.subject}: {finding.text}")
    failed, left = (sum(finding.state == state for finding in findings) for state in ("FAIL", "not run"))
    print(f"{failed or 'none'} failed, {left} not run" if left else f"{failed} failed" if failed else "all good")
    return 1 if failed else 0
