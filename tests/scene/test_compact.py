import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.scene.compact import load_compact, save_compact
from jaxrecon.scene.files import SceneError
from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.scene import Scene
from jaxrecon.scene.spz import SpzError
from jaxrecon.storage import StorageError, write_folder


def make_scene(count: int, actors: int) -> Scene:
    """Slots alternate between the static world and all actors but the last, which has none; every fifth is unused."""
    keys = jax.random.split(jax.random.key(5), 7)
    gaussians = Gaussians(
        means=40 * jax.random.normal(keys[0], (count, 3)),
        quaternions=jax.random.normal(keys[1], (count, 4)),
        log_scales=jax.random.uniform(keys[2], (count, 3), minval=-4.0, maxval=1.0),
        opacity_logits=jax.random.normal(keys[3], (count,)),
        sh=jax.random.uniform(keys[4], (count, 1, 3), minval=-1.5, maxval=1.5),
        valid=jnp.arange(count) % 5 != 4,
    )
    sizes = jax.random.uniform(keys[5], (actors, 3), minval=1.0, maxval=5.0)
    sky = jax.random.uniform(keys[6], (4, 8, 3))
    return Scene(gaussians, (jnp.arange(count) % max(actors, 1)).astype(jnp.int32), sky, sizes)


@pytest.mark.parametrize("actors", [0, 1, 3])
def test_a_scene_comes_back_in_the_order_of_its_groups_as_well_as_promised(tmp_path, actors):
    scene = make_scene(60, actors)
    made = save_compact(scene, tmp_path / "scene", {"log": "street"})
    read, note = load_compact(tmp_path / "scene")
    assert note == {"log": "street"} and len(made) == 64
    valid, group = np.asarray(scene.gaussians.valid), np.asarray(scene.group)
    order = np.concatenate([np.flatnonzero(valid & (group == g)) for g in range(actors + 1)])
    np.testing.assert_array_equal(read.group, group[order])
    np.testing.assert_array_equal(read.actor_sizes, scene.actor_sizes)
    assert read.gaussians.valid.all()
    was = jax.tree.map(lambda leaf: np.asarray(leaf)[order], scene.gaussians)
    # Half a step of each encoding: 2^-12 m, 1/16 of a logarithm, 1/255 of opacity, 1/38 of a coefficient.
    np.testing.assert_allclose(read.gaussians.means, was.means, atol=2**-13 + 1e-5)
    np.testing.assert_allclose(read.gaussians.log_scales, was.log_scales, atol=1 / 32 + 1e-5)
    opacity = [jax.nn.sigmoid(one.opacity_logits) for one in (read.gaussians, was)]
    np.testing.assert_allclose(*opacity, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(read.gaussians.sh, was.sh, atol=0.5 / (0.15 * 255) + 1e-5)
    unit = was.quaternions / np.linalg.norm(was.quaternions, axis=-1, keepdims=True)
    cosine = np.abs(np.sum(np.asarray(read.gaussians.quaternions) * unit, axis=-1))
    assert np.degrees(2 * np.arccos(np.minimum(cosine, 1))).max() < 0.5
    np.testing.assert_allclose(read.sky, scene.sky, atol=0.5 / 255 + 1e-6)


def test_it_takes_a_fraction_of_the_room(tmp_path):
    save_compact(make_scene(5000, 3), tmp_path / "scene")
    size = sum(file.stat().st_size for file in (tmp_path / "scene").iterdir())
    # 20 bytes of SPZ for each of 4000, less what gzip finds even in noise; 56 in float32.
    assert size < 4000 * 20 + 4000


def test_bad_scenes_and_folders_are_named(tmp_path):
    scene = make_scene(20, 2)
    with pytest.raises(SpzError, match="no Gaussian to write"):
        nothing = dataclasses.replace(scene.gaussians, valid=jnp.zeros(20, bool))
        save_compact(dataclasses.replace(scene, gaussians=nothing), tmp_path / "none")
    with pytest.raises(SceneError, match=r"group\[3\] is 9"):
        save_compact(dataclasses.replace(scene, group=scene.group.at[3].set(9)), tmp_path / "bad")
    assert not list(tmp_path.iterdir())
    save_compact(scene, tmp_path / "scene")
    with pytest.raises(StorageError):
        save_compact(scene, tmp_path / "scene")

    def with_other_counts(folder: pathlib.Path) -> None:
        (folder / "gaussians.spz").write_bytes((tmp_path / "scene" / "gaussians.spz").read_bytes())
        with np.load(tmp_path / "scene" / "rest.npz") as archive:
            np.savez(folder / "rest.npz", **{**archive, "group_counts": archive["group_counts"] + 1})

    write_folder(tmp_path / "other", with_other_counts, kind="compact-scene", version=1, metadata={})
    with pytest.raises(SceneError, match=r"counts 19 Gaussians of 3 bodies, gaussians\.spz has 16"):
        load_compact(tmp_path / "other")
    (tmp_path / "scene" / "gaussians.spz").write_bytes(b"changed")
    with pytest.raises(StorageError):
        load_compact(tmp_path / "scene")
