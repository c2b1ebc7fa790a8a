"""The camera policy: shapes, masks, types and its size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrecon.agents import Policy, PolicyConfig, create_policy, parameter_count, policy_shape
from jaxrecon.agents.networks import Convolution
from jaxrecon.dynamics import anchors
from jaxrecon.simulator import Observation


def observation(config: PolicyConfig, rows: int) -> Observation:
    rng = np.random.default_rng(0)
    return Observation(
        frames=jnp.asarray(rng.integers(0, 256, (rows, config.cameras, config.height, config.width, 3)), jnp.uint8),
        ego=jnp.asarray(np.c_[np.linspace(0, 30, rows), rng.normal(size=(rows, 3))], jnp.float32),
        navigation=jnp.asarray(rng.normal(size=(rows, 6)), jnp.float32),
    )


@pytest.mark.parametrize(("cameras", "width", "height", "compute"), [
    (1, 48, 32, "float32"), (1, 96, 32, "float32"), (2, 96, 64, "bfloat16"),
])  # fmt: skip
def test_outputs_have_the_shapes_and_types_of_the_heads(small_config, cameras, width, height, compute):
    config = dataclasses.replace(
        small_config, cameras=cameras, width=width, height=height, channels=(4, 6, 8), compute=compute
    )
    policy = policy_shape(config)
    output = jax.eval_shape(Policy.__call__, policy, observation(config, 3))
    assert [x.shape for x in jax.tree.leaves(output)] == [(3, 61), (3, 61), (3, 4)]
    assert {x.dtype for x in jax.tree.leaves((output, policy.parameters))} == {jnp.dtype("float32")}
    assert parameter_count(policy) < 200_000


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
