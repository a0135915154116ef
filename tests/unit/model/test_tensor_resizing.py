"""Resized weights: they do to resized patches what they did before."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dit_run.model.tensor_resizing import resize_input, resize_known, resize_output, resize_positions


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(("old", "new"), [(2, 4), (1, 2), (2, 3)])
def test_enlarged_patches_keep_their_embeddings(old: int, new: int) -> None:
    weight, patches = drawn(5, 3, old, old), drawn(7, 3, old, old)
    larger = resize_input(weight, torch.zeros(5, 3, new, new))
    enlarged = F.interpolate(patches, (new, new), mode="bilinear")
    expected = torch.einsum("ncij,dcij->nd", patches, weight)
    torch.testing.assert_close(torch.einsum("ncij,dcij->nd", enlarged, larger), expected, rtol=1e-4, atol=1e-5)


def test_patches_that_shrink_keep_about_the_mean() -> None:
    weight = torch.ones(1, 1, 4, 4)
    smaller = resize_input(weight, torch.zeros(1, 1, 2, 2))
    assert smaller.sum().item() == pytest.approx(16.0, rel=0.05)  # of a constant patch, by least squares


def test_new_channels_of_the_input_have_no_effect() -> None:
    weight = drawn(5, 4, 2, 2)
    found = resize_input(weight, drawn(5, 16, 2, 2))
    assert torch.equal(found[:, :4], weight)
    assert not found[:, 4:].any()
    assert torch.equal(resize_input(weight, torch.zeros(5, 3, 2, 2)), weight[:, :3])


def test_a_prediction_is_resized_like_an_image() -> None:
    weight, states = drawn(3, 2, 2, 6), drawn(4, 6)
    larger = resize_output(weight, torch.zeros(3, 4, 4, 6))
    image = torch.einsum("cijd,nd->ncij", weight, states)
    expected = F.interpolate(image, (4, 4), mode="bilinear")
    torch.testing.assert_close(torch.einsum("cijd,nd->ncij", larger, states), expected, rtol=1e-4, atol=1e-5)


def test_new_channels_of_the_output_keep_their_initial_weights() -> None:
    weight, initial = drawn(2, 2, 2, 6), drawn(4, 2, 2, 6)
    found = resize_output(weight, initial)
    assert torch.equal(found[:2], weight)
    assert torch.equal(found[2:], initial[2:])


def test_positions_are_interpolated_on_their_grid() -> None:
    ramp = torch.arange(8.0)[:, None].expand(8, 8).reshape(1, 64, 1)
    found = resize_positions(ramp, torch.zeros(1, 256, 1))
    assert found is not None
    grid = found.view(16, 16)
    torch.testing.assert_close(grid, grid[:, :1].expand(16, 16))
    torch.testing.assert_close(grid[4:-4, 0].diff(), torch.full((7,), 0.5), rtol=0.02, atol=0.0)
    assert resize_positions(torch.zeros(1, 60, 1), torch.zeros(1, 256, 1)) is None  # no square
    assert resize_positions(torch.zeros(1, 64, 2), torch.zeros(1, 256, 1)) is None  # another width


def test_known_forms_are_told_by_shape_and_name() -> None:
    kernel, positions = drawn(4, 3, 2, 2), drawn(16, 4)
    assert resize_known("proj.weight", kernel, torch.zeros(4, 3, 4, 4)) is not None
    assert resize_known("proj.weight", kernel, torch.zeros(8, 3, 4, 4)) is None
    assert resize_known("pos_embed", positions, torch.zeros(64, 4)) is not None
    assert resize_known("head.weight", positions, torch.zeros(64, 4)) is None
    assert resize_known("pos_embed", positions, torch.zeros(1, 64, 4)) is None
    assert resize_known("bias", drawn(4), torch.zeros(8)) is None
