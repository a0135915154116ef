"""Compilation: one graph for each shape of micro-batches, and its failure is one message."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_parts import assembled
from torch._dynamo.utils import counters
from torch._inductor.exc import CppCompileError

from dit_run.protocols import TextStates
from dit_run.training.compile import (
    CompilationFailed,
    compile_blocks,
    count_shapes,
    restored_compiler_settings,
    translate_compilation,
)

OUTPUT = "In file included from a.h:1,\na.cpp:3:10: fatal error: Python.h: No such file or directory\n" + "note\n" * 140


def test_the_error_of_the_compiler_is_the_message() -> None:
    with pytest.raises(CompilationFailed) as failed, translate_compilation():
        raise CppCompileError(["g++", "a.cpp"], OUTPUT)
    assert str(failed.value) == (
        "training.compile_model: the model cannot be compiled: a.cpp:3:10: fatal error: Python.h: No such file or "
        "directory. Repair the compiler, or set compile_model: false; -v shows its whole output"
    )


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(ValueError, match=r"^error: other$"), translate_compilation():
        raise ValueError("error: other")


SIZES = ((16, 16), (8, 24), (24, 12))


def test_each_size_of_images_and_length_of_captions_is_compiled_once(tmp_path: Path) -> None:
    parts = assembled(tmp_path, "model.num_layers=2", "data.buckets=[16x16,8x24,24x12]", "text_encoder.max_length=20")
    assert count_shapes(parts.data.train, parts.encoders) == len(SIZES) * 2
    counters.clear()
    with restored_compiler_settings():
        compile_blocks(parts.denoiser, 300, backend="eager")
        assert torch._dynamo.config.recompile_limit == torch._dynamo.config.accumulated_recompile_limit == 600
        for _ in range(2):
            for height, width in SIZES:
                for length in (16, 20):
                    text = TextStates(
                        torch.ones(1, length, 8), torch.ones(1, length) > 0, torch.ones(1, 8), torch.zeros(1) > 0
                    )
                    parts.denoiser(torch.ones(1, 3, height, width), torch.ones(1), text)
    assert counters["stats"]["unique_graphs"] == len(SIZES) * 2


def test_a_whole_model_is_one_graph_with_the_same_output_and_names(tmp_path: Path) -> None:
    parts = assembled(tmp_path, "model.num_layers=2")
    text = TextStates(torch.ones(1, 16, 8), torch.ones(1, 16) > 0, torch.ones(1, 8), torch.zeros(1) > 0)
    inputs = torch.ones(1, 3, 16, 16), torch.ones(1), text
    names, expected = list(parts.denoiser.tensors()), parts.denoiser(*inputs)
    counters.clear()
    with restored_compiler_settings():
        compile_blocks(parts.denoiser, backend="eager", whole=True)
        assert torch.equal(parts.denoiser(*inputs), expected)
    assert counters["stats"]["unique_graphs"] == 1
    assert list(parts.denoiser.tensors()) == names
