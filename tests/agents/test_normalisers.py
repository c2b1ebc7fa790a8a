"""Running moments against those of all that was seen, and critics that keep their values when moments change."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.agents import create_policy, normalisers, optimise
from jaxrecon.simulator import Observation


def observation(rng, rows: int) -> Observation:
    return Observation(
        frames=jnp.asarray(rng.integers(0, 256, (rows, 1, 8, 8, 3)), jnp.uint8),
        ego=jnp.asarray(rng.normal([9, 0, 0, 0], [3, 1, 0.1, 0.1], (rows, 4)), jnp.float32),
        navigation=jnp.asarray(rng.normal(size=(rows, 6)), jnp.float32),
    )


@pytest.mark.parametrize("parts", [1, 3])
def test_moments_are_those_of_all_valid_rows_however_they_come(parts):
    rng = np.random.default_rng(0)
    rows = rng.normal(5.0, 2.0, (60, 4)).astype(np.float32)
    valid = rng.random(60) < 0.6
    moments = {"count": jnp.zeros(()), "mean": jnp.zeros(4), "variance": jnp.ones(4)}
    for x, mask in zip(np.split(rows, parts), np.split(valid, parts), strict=True):
        moments = normalisers.absorb(moments, jnp.asarray(x), jnp.asarray(mask))
    np.testing.assert_allclose(moments["mean"], rows[valid].mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments["variance"], rows[valid].var(0), rtol=1e-4)
    assert moments["count"] == valid.sum()
    for mask in (jnp.zeros(3, bool), jnp.ones(3, bool)):
        same = normalisers.absorb(moments, jnp.full((3, 4), jnp.nan), mask)
        jax.tree.map(np.testing.assert_array_equal, same, moments)


@pytest.fixture(scope="module")
def normalised(small_config):
    config = dataclasses.replace(small_config, normalise_state=True, normalise_values=True)
    return create_policy(config, jax.random.key(0))


def test_values_survive_a_change_of_their_moments(normalised):
    seen = observation(np.random.default_rng(1), 16)
    values = jax.jit(lambda policy: policy(seen).values)
    returns = jnp.asarray(np.random.default_rng(2).normal([-3, 0, 5, 40], [1, 2, 0.1, 10], (16, 4)), jnp.float32)
    valid = jnp.ones(16, bool)
    before = normalisers.having_seen(normalised, seen, None, valid)  # what is seen changes what the network makes of it
    after = before
    for _ in range(2):
        critic, moments = after.parameters["critic"], after.parameters["value_moments"]
        absorbed = normalisers.absorb(moments, returns, valid)
        parameters = after.parameters | {
            "critic": normalisers.rescaled_critic(critic, moments, absorbed), "value_moments": absorbed,
        }  # fmt: skip
        after = dataclasses.replace(after, parameters=parameters)
    # Values of tens, through a sum and a product in float32.
    np.testing.assert_allclose(values(after), values(before), atol=1e-4)
    np.testing.assert_allclose(normalisers.value_unit(after), np.std(returns, axis=0), rtol=1e-4)


def test_policies_take_in_what_they_see_also_inside_of_others(normalised):
    @dataclasses.dataclass(frozen=True)
    class Holder:
        policy: object

    seen = observation(np.random.default_rng(1), 50)
    valid = jnp.arange(50) < 40
    returns = jnp.ones((50, 4))
    inside = normalisers.having_seen(Holder(normalised), seen, returns, valid).policy
    moments = inside.parameters["state_moments"]
    np.testing.assert_allclose(moments["mean"][:4], np.asarray(seen.ego)[:40].mean(0), atol=1e-5)
    assert inside.parameters["value_moments"]["count"] == 40
    other = object()
    assert normalisers.having_seen(other, seen, returns, valid) is other and normalisers.value_unit(other) == 1.0


def test_no_optimiser_touches_moments_or_what_is_frozen(normalised):
    partition = optimise.partition(normalised, ("encoder",))
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(normalised)]
    for name, moves in zip(names, partition.moving, strict=True):
        assert moves == ("moments" not in name and "encoder" not in name)
    learned = [leaf + 1 for leaf in partition.learned(normalised)]
    joined = partition.joined(normalised, learned)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), joined.parameters, normalised.parameters)
    assert jax.tree.leaves(changed) == list(partition.moving)
    with pytest.raises(ValueError, match=r"no part named \['eyes'\] that could be frozen; its parts are"):
        optimise.partition(normalised, ("eyes",))
    with pytest.raises(ValueError, match="nothing left to learn"):
        optimise.partition(normalised, ("parameters",))
