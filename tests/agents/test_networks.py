"""The camera policy: shapes, masks, types and its size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from noise_shown import observation

from jaxrecon.agents import (
    ConvolutionalConfig,
    Policy,
    ResidualConfig,
    TransformerConfig,
    create_policy,
    parameter_count,
    policy_config,
    policy_shape,
)
from jaxrecon.agents.flops import flops, flops_per_frame
from jaxrecon.agents.layers import Convolution
from jaxrecon.dynamics import anchors


@pytest.mark.parametrize(("cameras", "width", "height", "compute"), [
    (1, 48, 32, "float32"), (1, 96, 32, "float32"), (2, 96, 64, "bfloat16"),
])  # fmt: skip
def test_outputs_have_the_shapes_and_types_of_the_heads(small_config, cameras, width, height, compute):
    config = dataclasses.replace(
        small_config,
        cameras=cameras,
        width=width,
        height=height,
        compute=compute,
        encoder=ConvolutionalConfig(channels=(4, 6, 8)),
    )
    policy = policy_shape(config)
    output = jax.eval_shape(Policy.__call__, policy, observation(config, 3))
    assert [x.shape for x in jax.tree.leaves(output)] == [(3, 61), (3, 61), (3, 4)]
    assert {x.dtype for x in jax.tree.leaves((output, policy.parameters))} == {jnp.dtype("float32")}
    assert parameter_count(policy) < 200_000


SMALL_ENCODERS = {
    "residual": ResidualConfig(channels=(4, 8), blocks=1, groups=2),
    "transformer": TransformerConfig(patch=4, width=8, depth=2, attention_heads=2),
}


@pytest.mark.parametrize("kind", SMALL_ENCODERS)
@pytest.mark.parametrize(("history", "action"), [(1, "continuous"), (3, "anchors")])
def test_every_encoder_sees_all_frames_and_learns_with_all_parameters(small_config, kind, history, action):
    config = dataclasses.replace(
        small_config, encoder=SMALL_ENCODERS[kind], history=history, action=action, cameras=2, height=16
    )
    policy, seen = create_policy(config, jax.random.key(0)), observation(config, 4)

    @jax.jit
    def slope(parameters):
        def loss(parameters):
            output = dataclasses.replace(policy, parameters=parameters)(seen)
            return jnp.sum(output.log_prob(output.sample(jax.random.key(1)))) + jnp.sum(output.values**2)

        return jax.grad(loss)(parameters)

    for path, leaf in jax.tree_util.tree_leaves_with_path(slope(policy.parameters)):
        assert jnp.isfinite(leaf).all() and (leaf != 0).any(), path
    values = jax.jit(lambda frames: policy(dataclasses.replace(seen, frames=frames)).values)
    before = values(seen.frames)
    for which in np.ndindex(seen.frames.shape[1:-3]):
        changed = seen.frames.at[(slice(None), *which)].set(0)
        assert (values(changed) != before).any(), f"frame {which} is not looked at"


def test_sizes_are_what_they_are_said_to_be():
    shape = {"width": 96, "height": 64}
    costs = {size: flops_per_frame(policy_config(size, **shape)) / 1e6 for size in ("demo", "shipped", "resnet", "vit")}
    assert costs["demo"] < 10 and 20 < costs["shipped"] <= 80 < costs["vit"] and 400 < costs["resnet"] < 1000, costs
    counts = {size: parameter_count(policy_shape(policy_config(size, **shape))) / 1e6 for size in costs}
    # ResNet-18 has 11.2 million parameters before its last layer.
    assert 11.0 < counts["resnet"] < 14.0 and counts["shipped"] < 3.0, counts
    # A longer history costs its first layer only.
    longer = flops_per_frame(policy_config("shipped", history=4, **shape)) / 1e6
    assert longer < 1.3 * costs["shipped"]
    with pytest.raises(ValueError, match="policy size is 'huge', expected one of"):
        policy_config("huge")


def test_operations_are_counted():
    x, y = jnp.zeros((3, 4)), jnp.zeros((4, 5))
    assert flops(lambda x, y: x @ y, x, y) == 2 * 3 * 4 * 5
    image, kernel = jnp.zeros((1, 8, 8, 2)), jnp.zeros((3, 3, 2, 7))
    names = ("NHWC", "HWIO", "NHWC")
    convolve = lambda image: jax.lax.conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=names)  # noqa: E731
    assert flops(convolve, image) == 2 * 4 * 4 * 7 * 3 * 3 * 2
    repeated = lambda x: jax.lax.scan(lambda c, _: (c @ jnp.eye(4), None), x, length=6)[0]  # noqa: E731
    assert flops(jax.jit(repeated), x) == 6 * 2 * 3 * 4 * 4
    with pytest.raises(ValueError, match="a loop of unknown length"):
        flops(lambda x: jax.lax.while_loop(lambda c: c.sum() < 0, lambda c: c @ jnp.eye(4), x), x)


def test_continuous_heads_stay_within_the_car_and_are_gaussians(small_config):
    config = dataclasses.replace(small_config, action="continuous")
    output = jax.jit(Policy.__call__)(create_policy(config, jax.random.key(0)), observation(config, 5))
    drawn = jax.vmap(output.sample)(jax.random.split(jax.random.key(1), 4000))
    assert drawn.shape == (4000, 5, 2) and output.mode().shape == (5, 2)
    # Standard errors of four thousand draws.
    deviation = np.exp(np.asarray(output.log_deviation))[:, ::-1]
    np.testing.assert_allclose(drawn.mean(0), output.mode(), atol=0.08 * deviation.max())
    np.testing.assert_allclose(drawn.std(0), deviation, rtol=0.06)
    acceleration, steering = drawn[0, :, 0], drawn[0, :, 1]
    for head, value in ((0, steering), (1, acceleration)):
        z = (value - output.mean[:, head]) / jnp.exp(output.log_deviation[:, head])
        expected = -0.5 * z**2 - output.log_deviation[:, head] - 0.5 * np.log(2 * np.pi)
        np.testing.assert_allclose(output.log_prob(drawn[0])[:, head], expected, rtol=1e-4, atol=1e-5)


def test_infeasible_anchors_are_never_chosen_and_a_new_policy_is_nearly_uniform(small_config):
    policy = create_policy(small_config, jax.random.key(0))
    seen = observation(small_config, 16)
    output = jax.jit(Policy.__call__)(policy, seen)
    masks = anchors.feasible(seen.ego[:, 0])
    np.testing.assert_allclose(output.entropy(), np.log([[m[i].sum() for m in masks] for i in range(16)]), atol=0.05)
    drawn = jax.vmap(output.sample)(jax.random.split(jax.random.key(1), 50))
    for head, mask in enumerate(masks):
        assert mask[jnp.arange(16), drawn[..., head]].all()
        assert mask[jnp.arange(16), output.mode()[:, head]].all()


def test_every_input_matters_and_every_parameter_gets_a_finite_gradient(small_config):
    policy = create_policy(small_config, jax.random.key(0))
    seen = observation(small_config, 8)

    @jax.jit
    def slope(parameters):
        def loss(parameters):
            output = dataclasses.replace(policy, parameters=parameters)(seen)
            return jnp.sum(output.log_prob(output.mode())) + jnp.sum(output.values**2)

        return jax.grad(loss)(parameters)

    for path, leaf in jax.tree_util.tree_leaves_with_path(slope(policy.parameters)):
        assert jnp.isfinite(leaf).all() and (leaf != 0).any(), path
    values = jax.jit(lambda policy, seen: policy(seen).values)
    before = values(policy, seen)
    for name in ("frames", "ego", "navigation"):
        changed = dataclasses.replace(seen, **{name: getattr(seen, name)[::-1]})
        assert (values(policy, changed) != before).any(), name


def test_frames_of_another_size_are_named(small_config):
    policy = create_policy(small_config, jax.random.key(0))
    with pytest.raises(ValueError, match=r"\(2, 8, 8, 3\), the policy was built for \(1, 8, 8, 3\)"):
        policy(observation(dataclasses.replace(small_config, cameras=2), 2))


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (1, 1)])
def test_both_convolutions_agree_with_each_other_and_their_gradients(small_config, size):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *size, 3)), jnp.float32)
    layers = [
        Convolution(3, 4, dataclasses.replace(small_config, convolution=kind), nnx.Rngs(0))
        for kind in ("matrix", "native")
    ]

    def outcome(layer):
        graph, state = nnx.split(layer)
        return jax.value_and_grad(lambda s, x: jnp.sum(jnp.sin(nnx.merge(graph, s)(x))), argnums=(0, 1))(state, x)

    assert layers[0](x).shape == (2, (size[0] + 1) // 2, (size[1] + 1) // 2, 4)
    # Sums of 27 float32 products in another order.
    for a, b in zip(*(jax.tree.leaves(outcome(layer)) for layer in layers), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
