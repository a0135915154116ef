"""dit: shapes, conditions, cost and the checks of its options."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dit_run.model.conditioning import joined
from dit_run.options import build as make_options
from dit_run.problems import InputError
from dit_run.protocols import Facts, RuleContext, TextStates
from dit_run.testing import check_model
from dit_run_plugins.models.dit import Dit, mlp_width, routed_range
from dit_run_plugins.models.dit.attention import join_heads, split_heads
from dit_run_plugins.models.dit.kernels import RmsNormOnce, attend_by_products, attend_with_channel
from dit_run_plugins.models.dit.layers import PatchConvolution, make_mlp, make_norm, make_part_norm, modulate
from dit_run_plugins.models.dit.network import build
from dit_run_plugins.models.dit.positions import rotate, rotations, sincos
from dit_run_plugins.models.dit.routing import Route
from dit_run_plugins.models.dit.rules import channels_agree, convolution_has_a_grid, heads_divide, route_fits

SMALL = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "in_channels": 3, "out_channels": 3, "dropout": 0.0}
CHOICES = [
    {},
    {"norm": "layernorm", "qk_norm": False, "mlp": "gelu", "positions": "sincos", "modulation": "adaln_zero"},
    {"positions": "rope", "null_condition": "encoded", "pooled_text": False, "gradient_checkpointing": True},
    {"zero_outputs": True},
    {"attention_convolution": True, "modulation": "adaln_zero"},
]


def make(**options):
    torch.manual_seed(0)
    return build(Dit(**{**SMALL, **options}), latent_channels=3, text_widths=(8,), pooled_widths=(6,))


def awake(**options):
    """A model whose output is not zero."""
    model = make(**options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return model


def text(n: int = 2, length: int = 5, *, null: tuple[bool, ...] | None = None, seed: int = 1) -> TextStates:
    random = torch.Generator().manual_seed(seed)
    tokens, pooled = torch.randn(n, length, 8, generator=random), torch.randn(n, 6, generator=random)
    mask = torch.arange(length)[None] < torch.tensor([[length], [length - 2]])[:n]
    return TextStates(tokens, mask, pooled, torch.tensor(null or (False,) * n))


def latents(n: int = 2, rows: int = 8, columns: int = 8) -> torch.Tensor:
    return torch.randn(n, 3, rows, columns, generator=torch.Generator().manual_seed(2))


TIMES = torch.tensor([100.0, 900.0])


@pytest.mark.parametrize("options", CHOICES)
def test_the_output_is_zero_at_first(options):
    assert not make(**options)(latents(), TIMES, text()).any()


@pytest.mark.parametrize("modulation", ["adaln_single", "adaln_zero"])
def test_blocks_with_zero_outputs_first_pass_their_input_on(modulation):
    model, x = make(modulation=modulation, zero_outputs=True), torch.randn(2, 16, 32)
    condition = torch.randn((2, 6, 32) if modulation == "adaln_single" else (2, 32))
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    for block in model.blocks:
        assert torch.equal(block(x, condition, torch.randn(2, 5, 32), mask, None, (4, 4)), x)
        assert block.mlp.down.weight.any() == (modulation == "adaln_zero")  # its gate is zero: both would stay so


@pytest.mark.parametrize("options", CHOICES)
def test_gradients_reach_every_parameter(options):
    model = awake(**options).train()
    model(latents(), TIMES, text(null=(False, True))).square().sum().backward()
    assert [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ] == []


@pytest.mark.parametrize("options", CHOICES)
@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (2, 2), (6, 14), (16, 4)])
def test_any_grid_of_patches_fits(options, rows, columns):
    assert awake(**options)(latents(2, rows, columns), TIMES, text()).shape == (2, 3, rows, columns)


@pytest.mark.parametrize("options", CHOICES)
def test_timestep_and_caption_change_the_output(options):
    model = awake(**options)
    output = model(latents(), TIMES, text())
    assert not torch.allclose(output, model(latents(), TIMES + 50, text()))
    assert not torch.allclose(output, model(latents(), TIMES, text(seed=9)))


@pytest.mark.parametrize("options", CHOICES)
def test_masked_tokens_do_not_change_the_output(options):
    model, states = awake(**options), text()
    changed = states._replace(tokens=states.tokens.where(states.mask[..., None], 100.0))
    torch.testing.assert_close(model(latents(), TIMES, states), model(latents(), TIMES, changed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_caption_without_tokens_is_no_trouble(dtype):
    model = awake()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = model(latents(), TIMES, text()._replace(mask=torch.zeros(2, 5, dtype=torch.bool)))
    assert output.isfinite().all()


def test_a_learned_null_condition_does_not_depend_on_the_caption():
    model, dropped = awake(null_condition="learned"), (True, True)
    first, second = (model(latents(), TIMES, text(null=dropped, seed=seed)) for seed in (1, 2))
    assert torch.equal(first, second)


def test_an_encoded_null_condition_is_the_empty_caption_itself():
    model, dropped = awake(null_condition="encoded"), (True, True)
    assert torch.equal(model(latents(), TIMES, text(null=dropped)), model(latents(), TIMES, text()))
    assert not torch.equal(model(latents(), TIMES, text(null=dropped)), model(latents(), TIMES, text(seed=2)))


@pytest.mark.parametrize("positions", ["rope", "sincos", "rope_sincos"])
def test_where_a_patch_stands_matters(positions):
    model, x = awake(positions=positions), latents()
    output = model(x, TIMES, text())
    assert not torch.allclose(model(x.roll(2, -1), TIMES, text()), output.roll(2, -1), atol=1e-3)


def test_dropout_acts_in_training_alone():
    model = awake(dropout=0.5)
    assert torch.equal(model(latents(), TIMES, text()), model(latents(), TIMES, text()))
    model.train()
    assert not torch.equal(model(latents(), TIMES, text()), model(latents(), TIMES, text()))


@pytest.mark.parametrize("chosen", [True, "attention", 2])
def test_gradient_checkpointing_changes_no_gradient(chosen):
    gradients = []
    for checkpointing in (False, chosen):
        model = awake(gradient_checkpointing=checkpointing, dropout=0.2).train()
        torch.manual_seed(5)
        model(latents(), TIMES, text()).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(("chosen", "again"), [(False, 0), (True, 4), ("attention", 0), (2, 2), (3, 2), (4, 1)])
def test_gradient_checkpointing_computes_the_chosen_blocks_again(chosen, again):
    model, calls = awake(gradient_checkpointing=chosen, num_layers=4).train(), []
    for block in model.blocks:
        block.mlp.register_forward_hook(lambda *_: calls.append("mlp"))
        block.self_attention.register_forward_hook(lambda *_: calls.append("attention"))
    model(latents(), TIMES, text()).square().sum().backward()
    assert calls.count("mlp") == 4 + again
    assert calls.count("attention") == 4 + (4 if chosen == "attention" else again)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_a_block_is_one_graph_that_gives_the_same(norm):
    """Compiled code runs another form of some operations."""
    states, gradients = [], []
    for compiled in (False, True):
        model = awake(norm=norm, num_layers=1).train()
        for block in model.blocks if compiled else ():
            block.compile(backend="aot_eager", fullgraph=True, dynamic=False)
        output = model(latents(), TIMES, text())
        states.append(output)
        gradients.append(torch.autograd.grad(output.square().sum(), list(model.parameters())))
    torch.testing.assert_close(states[1], states[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("mlp", "ratio", "width"), [("gelu", 4.0, 128), ("swiglu", 4.0, 88), ("gelu", 2.5, 80)])
def test_mlp_ratio_is_the_width_of_the_mlp(mlp, ratio, width):
    options = Dit(**{**SMALL, "mlp": mlp, "mlp_ratio": ratio})
    assert mlp_width(options) == width
    assert make(mlp=mlp, mlp_ratio=ratio).blocks[0].mlp.down.in_features == width


def test_a_gated_mlp_has_the_parameters_of_a_plain_one():
    plain, gated = (
        sum(p.numel() for p in make(mlp=mlp, hidden_size=192).blocks[0].mlp.parameters()) for mlp in ("gelu", "swiglu")
    )
    assert gated == pytest.approx(plain, rel=0.01)


def test_the_default_has_about_12_layers_hidden_squared_parameters():
    options = Dit()
    with torch.device("meta"):
        model = build(options, latent_channels=4, text_widths=(512,), pooled_widths=(512,))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 150e6 < count < 200e6


@pytest.mark.parametrize("length", [1, 5])
def test_attention_in_bfloat16_is_that_of_torch(length):
    q, k, v = (torch.randn(2, 2, length, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    mask = torch.arange(length)[None, None, None] < torch.tensor([length, 1])[:, None, None, None]
    exact = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    ours = attend_by_products(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
    torch.testing.assert_close(ours.float(), exact, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_attention_in_bfloat16_are_those_of_torch(masked):
    inputs = [torch.randn(2, 2, 6, 8, generator=torch.Generator().manual_seed(i)).bfloat16() for i in range(3)]
    mask = torch.arange(6)[None, None, None] < torch.tensor([6, 2])[:, None, None, None] if masked else None

    def gradients(attention, dtype):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in inputs]
        return [g.float() for g in torch.autograd.grad(attention(*leaves, mask).float().square().sum(), leaves)]

    exact = gradients(torch.nn.functional.scaled_dot_product_attention, torch.float64)
    for ours, torchs in zip(gradients(attend_by_products, torch.bfloat16), exact, strict=True):
        assert (ours - torchs).norm() < 0.02 * torchs.norm()


def test_swiglu_learns_what_it_says_and_keeps_no_third_factor():
    layers, x, kept = make_mlp("swiglu", 8, 6), numbers(3, 8), []
    layers.double()
    gate, up = layers.gate_up(x).chunk(2, dim=-1)
    written = layers.down(torch.nn.functional.silu(gate) * up)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        found = layers(x)
    assert torch.equal(found, written)
    expected = torch.autograd.grad(written.square().sum(), [x, *layers.parameters()])
    for ours, torchs in zip(
        torch.autograd.grad(found.square().sum(), [x, *layers.parameters()]), expected, strict=True
    ):
        assert torch.equal(ours, torchs)
    inner = {tensor.untyped_storage().data_ptr() for tensor in kept if tensor.shape == (3, 6)}
    assert len(inner) == 2  # gate and up in one, and the product


def test_heads_are_consecutive_parts_of_the_width():
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(split_heads(x, 3)[1, 2, 4], x[1, 4, -4:])
    assert torch.equal(join_heads(split_heads(x, 3)), x)


def test_rotations_make_products_depend_on_the_distance_alone():
    turn = rotations(3, 5, 16, torch.device("cpu"))
    q, k = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0))
    scores = rotate(q.expand(15, 16), turn) @ rotate(k.expand(15, 16), turn).T
    assert scores[0, 6] == pytest.approx(scores[5, 11].item(), abs=1e-5)
    assert scores[0, 6] == pytest.approx(scores[8, 14].item(), abs=1e-5)
    assert scores[0, 6] != pytest.approx(scores[0, 7].item(), abs=1e-3)


def test_rotations_keep_lengths_and_what_is_left_of_a_width():
    x = torch.randn(15, 7, generator=torch.Generator().manual_seed(0))
    turned = rotate(x, rotations(3, 5, 7, torch.device("cpu")))
    torch.testing.assert_close(turned.norm(dim=1), x.norm(dim=1))
    assert torch.equal(turned[:, 4:], x[:, 4:])
    assert not torch.equal(turned[0, :4], x[0, :4])


def test_the_middle_of_every_grid_has_the_same_code():
    cpu = torch.device("cpu")
    torch.testing.assert_close(sincos(3, 5, 16, cpu)[7], sincos(7, 3, 16, cpu)[10])


def test_rmsnorm_follows_its_formula():
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        make_norm("rmsnorm", 8, affine=True)(x), x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    )


def test_rmsnorm_stays_in_the_dtype_of_its_input():
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    norm, kept = make_norm("rmsnorm", 8, affine=True), []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.dtype) or tensor, lambda t: t),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        out = norm(x)
    assert out.dtype is torch.bfloat16 and x.dtype in kept
    expected = x.float() / (x.float().square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(out.float(), expected, atol=0.03, rtol=0.02)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)


def test_the_gradient_of_rmsnorm_follows_its_formula():
    assert torch.autograd.gradcheck(make_norm("rmsnorm", 8, affine=True).double(), numbers(3, 8))


@pytest.mark.parametrize("width", [8, 7])
def test_the_gradient_of_a_rotation_is_the_rotation_back(width):
    turn = rotations(2, 3, width, torch.device("cpu"))
    assert torch.autograd.gradcheck(lambda x: rotate(x, turn), numbers(2, 6, width))


def test_a_modulation_follows_its_formula():
    x, shift, scale = numbers(2, 5, 4), numbers(2, 1, 4, seed=1), numbers(2, 1, 4, seed=2)
    assert torch.equal(modulate(x, shift, scale), x * (1 + scale) + shift)
    assert torch.autograd.gradcheck(modulate, (x, shift, scale))


def context(**options) -> RuleContext:
    written = frozenset(("model", name) for name in options)
    return RuleContext(SimpleNamespace(), ("model",), make_options(Dit, options), Facts(), written)


def test_heads_that_do_not_divide_the_width_are_named_with_it():
    (problem,) = heads_divide(context(num_heads=13))
    assert problem.message == "model.num_heads 13 does not divide model.hidden_size 768"
    assert problem.path == ("model", "num_heads")
    assert problem.help == ("the nearest numbers that divide 768 are 12 and 16",)


def test_a_head_dim_that_disagrees_names_all_three():
    (problem,) = heads_divide(context(attention_head_dim=32))
    assert problem.message == "model.attention_head_dim 32 is not model.hidden_size 768 / model.num_heads 12 = 64"
    assert (problem.path, *problem.related) == tuple(
        ("model", key) for key in ("attention_head_dim", "hidden_size", "num_heads")
    )


@pytest.mark.parametrize("options", [{}, {"attention_head_dim": 64}, {"hidden_size": 10, "num_heads": 5}])
def test_heads_that_fit_are_no_problem(options):
    assert list(heads_divide(context(**options))) == []


def test_channels_in_and_out_must_be_the_same():
    (problem,) = channels_agree(context(in_channels=3, out_channels=4))
    assert problem.message.startswith("model.out_channels 4 is not model.in_channels 3")


@pytest.mark.parametrize(("written", "other"), [("in_channels", "out_channels"), ("out_channels", "in_channels")])
def test_channels_that_are_not_written_become_the_others(written, other):
    (adjustment,) = channels_agree(context(**{written: 3}))
    assert (adjustment.path, adjustment.value, adjustment.quiet) == (("model", other), 3, True)


def test_channels_must_be_the_latents():
    with pytest.raises(InputError, match=r"model.in_channels is 4, but the VAE's latents have 3 channels"):
        build(Dit(), latent_channels=3, text_widths=(8,), pooled_widths=(8,))


def test_each_part_of_several_encoders_has_a_norm_of_its_own():
    norm, x = make_part_norm("rmsnorm", (2, 4)), torch.tensor([[1.0, 1.0, 100.0, 100.0, 100.0, 100.0]])
    torch.testing.assert_close(norm(x), torch.ones(1, 6))
    assert {name: list(value.shape) for name, value in norm.named_parameters()} == {"0.weight": [2], "1.weight": [4]}


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_each_of_several_encoders_has_projections_of_its_own(norm):
    torch.manual_seed(0)
    options = Dit(**{**SMALL, "norm": norm})
    both = build(options, latent_channels=3, text_widths=(8, 4), pooled_widths=(6, 2))
    alone = build(options, latent_channels=3, text_widths=(8,), pooled_widths=(6,))
    alone.text.projection.weight.data = both.text.projection.weight.data[:, :8]
    alone.text.always.data = both.text.always.data
    given = text()
    several = joined(
        [given, TextStates(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool), torch.randn(2, 2), given.null)]
    )
    tokens, mask = both.text(several)
    torch.testing.assert_close(tokens[:, : 1 + 5], alone.text(given)[0])
    assert mask.shape[-1] == 1 + 5 + 3


def test_one_encoder_gives_the_weights_of_before():
    names = set(make().state_dict())
    assert {"text.norm.weight", "text.projection.weight", "condition.pooled_norm.weight"} <= names


@pytest.mark.parametrize("modulation", ["adaln_single", "adaln_zero"])
def test_scalars_keep_the_contract_and_begin_without_effect(modulation):
    check_model("dit", scalars=("score", "original_width"), modulation=modulation, **SMALL)
    plain, with_scalars = make(), make(scalars=("score",))
    assert plain.scalars == () and with_scalars.scalars == ("score",)
    new = set(with_scalars.state_dict()) - set(plain.state_dict())
    assert new == {f"condition.scalars.{layer}.{kind}" for layer in ("first", "last") for kind in ("weight", "bias")}
    assert not with_scalars.condition.scalars(torch.tensor([[3.0], [4.0]])).any()


@pytest.mark.parametrize("scaled", [True, False])
def test_rms_norm_in_one_piece_has_the_values_and_gradients_of_torch(scaled: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 8, generator=generator, requires_grad=True)
    weight = torch.randn(8, generator=generator, requires_grad=True) if scaled else None
    out, expected = RmsNormOnce.apply(x, weight, 1e-6), torch.nn.functional.rms_norm(x, (8,), weight, 1e-6)
    torch.testing.assert_close(out, expected)
    wanted = [value for value in (x, weight) if value is not None]
    gradient = torch.randn(out.shape, generator=generator)
    for ours, theirs in zip(
        torch.autograd.grad(out, wanted, gradient), torch.autograd.grad(expected, wanted, gradient), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_rms_norm_in_one_piece_keeps_the_dtype_of_its_input() -> None:
    x = torch.randn(2, 8).bfloat16().requires_grad_()
    out = RmsNormOnce.apply(x, torch.ones(8).bfloat16().requires_grad_(), 1e-6)
    out.sum().backward()
    assert out.dtype is x.grad.dtype is torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [8, 20, 64])
def test_a_mask_as_a_channel_hides_the_same_keys(dtype: torch.dtype, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, width, generator=generator).to(dtype) for n in (5, 7, 7))
    mask = (torch.arange(7) < torch.tensor([3, 7])[:, None])[:, None, None]
    ours = [part.clone().requires_grad_() for part in (query, key, value)]
    out = attend_with_channel(*ours, mask)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(out, expected, rtol=0.02, atol=1e-6 if dtype is torch.float32 else 0.02)
    out.sum().backward()
    assert not ours[1].grad[0, :, 3:].any() and not ours[2].grad[0, :, 3:].any()


@pytest.mark.parametrize("checkpointing", [False, True, "attention"])
def test_states_after_blocks_are_those_that_the_next_block_gets(checkpointing):
    model = awake(gradient_checkpointing=checkpointing).train()
    given = {}
    model.blocks[1].register_forward_pre_hook(lambda block, states: given.update(x=states[0]))
    output, taps = model(latents(), TIMES, text(), taps=("blocks.0",))
    assert model.taps == {"blocks.0": 32, "blocks.1": 32}
    assert torch.equal(taps["blocks.0"].flatten(2).transpose(1, 2), given["x"])
    gradient = torch.autograd.grad(taps["blocks.0"].sum(), model.input.weight, retain_graph=True)[0]
    assert gradient.any()
    assert torch.equal(output, model(latents(), TIMES, text()))


ROUTED = {"num_layers": 4, "routed_share": 0.5, "routed_blocks": (1, 2)}


def test_a_share_of_the_patches_skips_the_routed_blocks_in_training_alone():
    model, plain = awake(**ROUTED), awake(num_layers=4)
    seen = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda block, states: seen.append(states[0].shape[1]))
    patches = latents().shape[-1] * latents().shape[-2] // 4
    assert torch.equal(model(latents(), TIMES, text()), plain(latents(), TIMES, text()))
    assert seen == [patches] * 4
    model.train()
    torch.manual_seed(0)
    output = model(latents(), TIMES, text())
    assert seen[4:] == [patches, patches // 2, patches // 2, patches]
    torch.manual_seed(0)
    assert torch.equal(output, model(latents(), TIMES, text()))
    assert not torch.equal(output, model(latents(), TIMES, text()))


@pytest.mark.parametrize("positions", ["rope", "sincos"])
def test_patches_that_are_kept_attend_where_they_stand(positions):
    """With one routed block, kept patches have the states of a model that sees these patches alone there."""
    model = awake(num_layers=3, routed_share=0.5, routed_blocks=(1, 1), positions=positions).train()
    given = {}
    for index, block in enumerate(model.blocks):
        block.register_forward_pre_hook(lambda block, states, index=index: given.update({index: states}))
    torch.manual_seed(0)
    model(latents(), TIMES, text())
    (before, after), inside = (given[index][0] for index in (1, 2)), given[1]
    torch.manual_seed(0)
    whole = model.blocks[0](*given[0])
    kept = (whole[:, :, None] == before[:, None]).all(-1).any(-1)
    assert kept.sum(1).tolist() == [before.shape[1]] * len(before)
    assert torch.equal(whole[kept].view_as(before), before)
    assert torch.equal(after[~kept], whole[~kept])
    assert torch.equal(after[kept].view_as(before), model.blocks[1](*inside))
    if positions == "rope":
        turn = given[0][-2]
        assert torch.equal(inside[-2][0][0, 0], turn[0][kept[0]])


@pytest.mark.parametrize("checkpointing", [True, "attention", 2])
def test_routing_keeps_its_patches_under_gradient_checkpointing(checkpointing):
    gradients = []
    for chosen in (False, checkpointing):
        model = awake(gradient_checkpointing=chosen, dropout=0.2, **ROUTED).train()
        torch.manual_seed(5)
        model(latents(), TIMES, text()).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_patches_to_keep_may_be_given():
    """A given route is the one of training, and a route of all patches none."""
    model = awake(**ROUTED)
    patches = latents().shape[-1] * latents().shape[-2] // 4
    assert (model.routes, awake().routes) == (True, False)
    every = torch.arange(patches).expand(len(latents()), -1)
    torch.testing.assert_close(model(latents(), TIMES, text(), kept=every), model(latents(), TIMES, text()))
    torch.manual_seed(0)
    kept = Route.drawn(len(latents()), patches, 0.5, torch.device("cpu")).kept
    given = model(latents(), TIMES, text(), kept=kept)
    torch.manual_seed(0)
    assert torch.equal(given, model.train()(latents(), TIMES, text()))


def test_a_second_timestep_changes_no_weight_and_no_prediction_at_first():
    plain, second = make(), make(second_time=True)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    with torch.no_grad():
        for model in (plain, second):
            model.output.weight.fill_(0.1)
    other = second.eval()(latents(), TIMES, text(), second_timesteps=TIMES / 2)
    assert torch.equal(plain.eval()(latents(), TIMES, text()), other)
    with torch.no_grad():
        second.second_time_code.last.weight.fill_(0.01)
        for block in second.blocks:
            for parameter in block.parameters():
                parameter.add_(0.01)
    same, other = (second(latents(), TIMES, text(), second_timesteps=each) for each in (TIMES, TIMES / 2))
    assert torch.equal(second(latents(), TIMES, text()), same)
    assert not torch.equal(same, other)


def test_states_of_a_part_of_the_patches_are_not_offered():
    model = awake(**ROUTED).train()
    assert list(model.taps) == ["blocks.0", "blocks.2", "blocks.3"]
    _, taps = model(latents(), TIMES, text(), taps=("blocks.2",))
    assert taps["blocks.2"].shape[2:] == (latents().shape[2] // 2, latents().shape[3] // 2)


@pytest.mark.parametrize(
    ("options", "blocks"),
    [
        ({"num_layers": 28, "routed_share": 0.5}, range(2, 24)),
        ({"num_layers": 16, "routed_share": 0.5}, range(2, 14)),
        ({"num_layers": 3, "routed_share": 0.5}, range(1, 2)),
        ({"num_layers": 28}, range(0)),
        ({"num_layers": 28, "routed_blocks": (2, 3)}, range(0)),
    ],
)
def test_the_blocks_that_patches_skip_by_default(options, blocks):
    assert routed_range(Dit(**options)) == blocks


@pytest.mark.parametrize("blocks", [(2, 1), (0, 4), None])
def test_a_range_of_no_blocks_is_refused(blocks):
    layers = 1 if blocks is None else 4
    options = Dit(num_layers=layers, routed_share=0.5, routed_blocks=blocks)
    context = SimpleNamespace(path=("model",), options=options)
    (problem,) = route_fits(context)
    assert problem.path == ("model", "routed_blocks")
    assert f"names no range of the {layers} blocks" in problem.message
    assert not list(route_fits(SimpleNamespace(path=("model",), options=Dit(num_layers=4, routed_share=0.5))))


def test_a_convolution_weighs_the_patches_around_each_patch():
    """Against the sum written out, on a grid that is not square."""
    rows, columns, width = 2, 3, 4
    x, layer = torch.randn(2, rows * columns, width), PatchConvolution(width)
    expected = torch.zeros_like(x).unflatten(1, (rows, columns))
    grid = x.unflatten(1, (rows, columns))
    for row in range(rows):
        for column in range(columns):
            for above, left in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)):
                if 0 <= row + above < rows and 0 <= column + left < columns:
                    weight = layer.weight[:, 0, above + 1, left + 1]
                    expected[:, row, column] += weight * grid[:, row + above, column + left]
    torch.testing.assert_close(layer(x, (rows, columns)), expected.flatten(1, 2))


def test_the_convolution_changes_nothing_at_first_and_learns():
    model = awake(attention_convolution=True)
    weights = [block.convolution.weight for block in model.blocks]
    with torch.no_grad():
        changed = model(latents(), TIMES, text())
        for weight in weights:
            weight.zero_()
    plain = model(latents(), TIMES, text())
    assert not torch.equal(plain, changed)
    model.train()
    model(latents(), TIMES, text()).square().mean().backward()
    assert all(weight.grad.any() for weight in weights)
    fresh = make(attention_convolution=True, zero_outputs=True)
    assert not any(block.convolution.weight.any() for block in fresh.blocks)


def test_a_convolution_and_patches_that_skip_blocks_are_refused():
    options = Dit(attention_convolution=True, routed_share=0.5)
    (problem,) = convolution_has_a_grid(SimpleNamespace(path=("model",), options=options))
    assert problem.code == "convolution-without-grid" and problem.path == ("model", "attention_convolution")
    assert "model.routed_share is 0.5" in problem.message
    for allowed in (Dit(attention_convolution=True), Dit(routed_share=0.5)):
        assert not list(convolution_has_a_grid(SimpleNamespace(path=("model",), options=allowed)))
