"""The code of a component in an exported folder: the run's factory, its options, and a class that diffusers loads."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from dit_run import __version__
from dit_run.export.code_bundle import CodeBundle
from dit_run.options import Secret, options_of
from dit_run.problems import InputError
from dit_run.registry.components import Component
from dit_run.settings import Choice

__all__ = ["CodeFile", "component_code", "pipeline_code"]

_CORE = ("dit_run", "dit_run_plugins")
_HEAD = Template("""\
\"\"\"$summary

Written by an export of dit-run $version: the definitions that it needs, copied from the modules named above each part.
\"\"\"

from __future__ import annotations

""")
_CLASS = Template('''


class $name($base):
    """The $kind $type of the run, with its options."""

    factory = staticmethod($factory)
    options = $options
$attributes''')


@dataclass(frozen=True)
class CodeFile:
    """A module of an exported folder, and the class in it that ``model_index.json`` names."""

    stem: str
    """File name without ``.py``. It has a digest of the text, because diffusers loads modules by their names alone."""
    class_name: str
    text: str


def component_code(choice: Choice, base: str, attributes: Mapping[str, Any] | None = None) -> CodeFile:
    """Return the code of a component; ``base`` is a class of :mod:`dit_run.remote.components`.

    ``attributes`` are further ones of the class. Raises InputError, naming the component, for code that would not run
    without dit-run.
    """
    name, code = _subclass(
        choice, ("dit_run.remote.components", base), f"Run{base.removeprefix('Exported')}", attributes
    )
    return _file(choice.type, name, f"The {choice.component.kind} {choice.type}.", code)


def pipeline_code(guidance: Choice) -> CodeFile:
    """Return the code of the pipeline with its guidance. Raises InputError as :func:`component_code` does."""
    name, code = _subclass(guidance, ("dit_run.remote.pipeline", "DitRunPipeline"), "RunPipeline")
    return _file("pipeline", name, "The pipeline: images from prompts.", code)


def _subclass(
    choice: Choice, base: tuple[str, str], name: str, attributes: Mapping[str, Any] | None = None
) -> tuple[str, str]:
    """Return the name of a subclass of ``base`` with a component's factory and options, and the code that defines it.

    ``base`` is a module and its class.
    """
    component = choice.component
    module, function = _reference(component)
    bundle = CodeBundle({*_CORE, module.partition(".")[0], component.options.__module__.partition(".")[0]})
    try:
        parent = bundle.take(*base)
        factory = bundle.take(module, function)
        options = _literal(choice.options, bundle)
        code = bundle.text()
    except InputError as error:
        raise InputError(
            f"{component.name} cannot be exported for other programs: {error}. With format safetensors the export "
            "holds the weights alone"
        ) from error
    name = bundle.free(name)
    lines = "".join(f"    {key} = {value!r}\n" for key, value in (attributes or {}).items())
    class_text = _CLASS.substitute(
        name=name, base=parent, kind=component.kind, type=component.type, factory=factory, options=options,
        attributes=lines,
    )  # fmt: skip
    return name, code.rstrip("\n") + class_text


def _file(stem: str, class_name: str, summary: str, code: str) -> CodeFile:
    text = _HEAD.substitute(summary=summary, version=__version__) + code
    digest = hashlib.sha256(text.encode()).hexdigest()
    return CodeFile(f"{stem}_{digest[:8]}", class_name, text)


def _reference(component: Component) -> tuple[str, str]:
    """Return module and name of the component's factory."""
    factory: str | Callable[..., Any] = component.factory
    if isinstance(factory, str):
        module, _, name = factory.partition(":")
        return module, name
    if not inspect.isfunction(factory) or not factory.__qualname__.isidentifier():
        raise InputError(
            f"{component.name} cannot be exported for other programs: its factory is no function of a module; name it "
            'as "package.module:build" in its Component'
        )
    return factory.__module__, factory.__qualname__


def _literal(value: Any, bundle: CodeBundle) -> str:
    """Return a Python expression of an options object, without its secrets, which have no place in a file."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = bundle.take(type(value).__module__, type(value).__qualname__)
        names = [option.name for option in options_of(type(value)) if Secret.name not in option.markers]
        fields = [f"{each}={_literal(getattr(value, each), bundle)}" for each in names]
        return f"{name}({', '.join(fields)})"
    if isinstance(value, tuple):
        return f"({''.join(_literal(item, bundle) + ', ' for item in value).rstrip()})"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    return repr(value)
