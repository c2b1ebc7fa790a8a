"""Policies on disk: exact round trips, and every kind of damage named."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noise_shown import observation

from jaxrecon.agents import (
    ArchitectureError,
    CheckpointError,
    ConvolutionalConfig,
    ResidualConfig,
    TrainingCheckpoints,
    TransformerConfig,
    create_policy,
    load_policy,
    save_policy,
)
from jaxrecon.storage import StorageError


@pytest.fixture(scope="module")
def policy(small_config):
    return create_policy(small_config, jax.random.key(3))


@pytest.fixture
def saved(policy, tmp_path):
    save_policy(tmp_path / "policy", policy, {"log": "street-1"})
    return tmp_path / "policy"


def test_round_trip_is_exact(policy, saved):
    loaded, metadata = load_policy(saved)
    assert metadata == {"log": "street-1"} and loaded.config == policy.config and loaded.graph == policy.graph
    jax.tree.map(np.testing.assert_array_equal, policy.parameters, loaded.parameters)


@pytest.mark.parametrize(
    "encoder", [ConvolutionalConfig(), TransformerConfig(patch=4, width=8, depth=1, attention_heads=2)]
)
def test_a_policy_that_computes_in_half_the_bits_is_stored_in_them_and_acts_the_same(small_config, encoder, tmp_path):
    config = dataclasses.replace(small_config, encoder=encoder, compute="bfloat16")
    made, seen = create_policy(config, jax.random.key(1)), observation(config, 5)
    save_policy(tmp_path / "policy", made)
    loaded, _ = load_policy(tmp_path / "policy")
    act = jax.jit(type(made).__call__)
    jax.tree.map(np.testing.assert_array_equal, act(made, seen), act(loaded, seen))
    names = {"encoder": [], "other": []}
    for (path, one), two in zip(
        jax.tree_util.tree_leaves_with_path(made.parameters), jax.tree.leaves(loaded.parameters), strict=True
    ):
        assert two.dtype == one.dtype
        kind = "encoder" if "encoder" in jax.tree_util.keystr(path) and one.ndim > 1 else "other"
        names[kind].append(bool((np.asarray(one) == np.asarray(two)).all()))
    assert all(names["other"]) and names["encoder"] and not any(names["encoder"])


def test_another_architecture_is_named(saved, small_config):
    with pytest.raises(ArchitectureError, match=r"trunk: \[32\] stored, \[16\] expected"):
        load_policy(saved, dataclasses.replace(small_config, trunk=(16,)))
    half, _ = load_policy(saved, dataclasses.replace(small_config, compute="bfloat16"))
    assert half.config.compute == "bfloat16"


@pytest.mark.parametrize("encoder", [ConvolutionalConfig(channels=(4,)), ResidualConfig(channels=(4,), groups=2), None])
def test_every_architecture_comes_back_and_others_are_refused(tmp_path, small_config, encoder):
    encoder = encoder or TransformerConfig(patch=4, width=8, depth=1, attention_heads=2)
    config = dataclasses.replace(small_config, encoder=encoder, history=2, action="continuous", normalise_values=True)
    made = create_policy(config, jax.random.key(0))
    save_policy(tmp_path / "one", made)
    loaded, _ = load_policy(tmp_path / "one")
    assert loaded.config == config
    jax.tree.map(np.testing.assert_array_equal, made.parameters, loaded.parameters)
    with pytest.raises(ArchitectureError, match=r"another architecture.*history: 2 stored, 1 expected; encoder: "):
        load_policy(tmp_path / "one", small_config)


def test_an_existing_policy_is_not_overwritten(policy, saved):
    with pytest.raises(StorageError, match="something that exists"):
        save_policy(saved, policy)
    save_policy(saved, policy, overwrite=True)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_to_any_file_is_found(saved, damage):
    files = sorted(p for p in saved.rglob("*") if p.is_file() and p.stat().st_size)
    for victim in files:
        whole = victim.read_bytes()
        if damage == "flip":
            victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 4]))
        elif damage == "truncate":
            victim.write_bytes(whole[: len(whole) // 2])
        else:
            victim.unlink()
        with pytest.raises(StorageError, match=victim.name):
            load_policy(saved)
        victim.write_bytes(whole)
    load_policy(saved)


def odd_state():
    return {
        "key": jax.random.key(5),
        "keys": jax.random.split(jax.random.key(6), 3),
        "none": jnp.zeros((0, 4)),
        "flag": jnp.array([True, False]),
        "half": jnp.array([1.5], jnp.bfloat16),
        "frames": jnp.arange(12, dtype=jnp.uint8).reshape(3, 4),
        "count": jnp.zeros((), jnp.int32),
    }


def test_training_state_of_every_kind_of_leaf_comes_back(tmp_path):
    checkpoints = TrainingCheckpoints(tmp_path, {"name": "run"})
    template = jax.tree.map(
        lambda x: x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else jnp.zeros_like(x), odd_state()
    )
    assert checkpoints.restore_latest(template) == (template, [])
    checkpoints.save(1, odd_state(), [{"loss": np.float32(np.nan)}])
    state, history = checkpoints.restore_latest(template)
    for name, leaf in odd_state().items():
        assert state[name].dtype == leaf.dtype
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            state[name], leaf = jax.random.key_data(state[name]), jax.random.key_data(leaf)
        np.testing.assert_array_equal(state[name], leaf)
    assert np.isnan(history[0]["loss"])
    with pytest.raises(ArchitectureError, match=r"frames is uint8\[3, 4\], expected uint8\[3, 5\]"):
        checkpoints.restore_latest(odd_state() | {"frames": jnp.zeros((3, 5), jnp.uint8)})
    with pytest.raises(ArchitectureError, match=r"lacks arrays \['more'\]"):
        checkpoints.restore_latest(odd_state() | {"more": jnp.zeros(2)})


def test_only_the_newest_are_kept_and_another_run_is_refused(tmp_path):
    checkpoints = TrainingCheckpoints(tmp_path, {"name": "run"}, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(step, {"x": jnp.full(3, step)}, [{"loss": np.float32(0)}] * step)
    assert checkpoints.steps() == [3, 2]
    state, history = checkpoints.restore_latest({"x": jnp.zeros(3, jnp.int32)})
    assert state["x"][0] == 3 and len(history) == 3
    with pytest.raises(CheckpointError, match="name: run stored, other expected"):
        TrainingCheckpoints(tmp_path, {"name": "other"}).restore_latest({"x": jnp.zeros(3, jnp.int32)})
