import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.scene.files import SceneError, load_levels, load_scene, save_scene, validate_scene
from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.levels import build_levels
from jaxrecon.scene.scene import Scene
from jaxrecon.storage import StorageError


def _scene(count: int = 9, degree: int = 1) -> Scene:
    keys = jax.random.split(jax.random.key(3), 6)
    gaussians = Gaussians(
        means=jax.random.normal(keys[0], (count, 3)),
        quaternions=jax.random.normal(keys[1], (count, 4)),
        log_scales=jax.random.normal(keys[2], (count, 3)),
        opacity_logits=jax.random.normal(keys[3], (count,)),
        sh=jax.random.normal(keys[4], (count, (degree + 1) ** 2, 3)),
        valid=jnp.arange(count) % 3 > 0,
    )
    return Scene(gaussians, jnp.arange(count) % 3, jax.random.uniform(keys[5], (4, 8, 3)), jnp.ones((2, 3)))


def _replace(scene: Scene, **fields: jax.Array) -> Scene:
    return scene.replace(gaussians=scene.gaussians.replace(**fields))


@pytest.mark.parametrize("degree", [0, 3])
def test_a_scene_loads_exactly_as_it_was_saved(tmp_path, degree):
    scene = _scene(degree=degree)
    content = save_scene(scene, tmp_path / "scene", {"log": "street", "heldout_psnr": 25.5})
    loaded, metadata = load_scene(tmp_path / "scene")
    assert metadata == {"log": "street", "heldout_psnr": 25.5}
    assert jax.tree.structure(loaded) == jax.tree.structure(scene)
    for before, after in zip(jax.tree.leaves(scene), jax.tree.leaves(loaded), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    assert save_scene(scene, tmp_path / "again", {}) == content


def test_a_scene_without_actors_or_content_loads(tmp_path):
    scene = _scene().replace(group=jnp.zeros(9, jnp.int32), actor_sizes=jnp.zeros((0, 3)))
    scene = _replace(scene, valid=jnp.zeros(9, bool))
    save_scene(scene, tmp_path / "scene")
    loaded, _ = load_scene(tmp_path / "scene")
    assert loaded.actors == 0
    assert not loaded.gaussians.valid.any()


def test_nothing_is_overwritten_silently(tmp_path):
    save_scene(_scene(), tmp_path / "scene", {"run": 1})
    with pytest.raises(StorageError):
        save_scene(_scene(degree=0), tmp_path / "scene", {"run": 2})
    assert load_scene(tmp_path / "scene")[1] == {"run": 1}
    save_scene(_scene(degree=0), tmp_path / "scene", {"run": 2}, overwrite=True)
    assert load_scene(tmp_path / "scene")[1] == {"run": 2}


@pytest.mark.parametrize("where", [0.1, 0.5, 0.95])
def test_a_flipped_byte_is_found(tmp_path, where):
    save_scene(_scene(), tmp_path / "scene")
    file = tmp_path / "scene" / "scene.npz"
    data = bytearray(file.read_bytes())
    data[int(where * len(data))] ^= 0x10
    file.write_bytes(bytes(data))
    with pytest.raises(StorageError, match=r"scene\.npz"):
        load_scene(tmp_path / "scene")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            lambda s: _replace(s, means=s.gaussians.means.at[2, 1].set(jnp.nan)),
            r"means\[2, 1\] is nan, expected a finite",
        ),
        (lambda s: s.replace(sky=s.sky.at[0, 0, 0].set(jnp.inf)), r"sky\[0, 0, 0\] is inf"),
        (lambda s: s.replace(group=s.group.at[4].set(3)), r"group\[4\] is 3, expected 0 \(static\) to 2"),
        (lambda s: s.replace(group=s.group.at[4].set(-1)), r"group\[4\] is -1"),
        (lambda s: _replace(s, valid=jnp.ones(8, bool)), r"valid has shape \(8,\), expected \(9,\)"),
        (lambda s: _replace(s, sh=jnp.zeros((9, 5, 3))), r"sh has shape \(9, 5, 3\), expected \(slots, 1 \| 4 \| 9"),
        (lambda s: s.replace(sky=jnp.ones((1, 4, 3))), r"sky has shape \(1, 4, 3\), expected \(rows >= 2"),
        (lambda s: s.replace(group=s.group.astype(jnp.float32)), "group is float32, expected int32"),
        (lambda s: _replace(s, quaternions=s.gaussians.quaternions.at[5].set(0.0)), r"quaternions\[5\] is zero"),
    ],
)
def test_an_unsound_scene_is_refused_and_leaves_nothing(tmp_path, broken, message):
    scene = broken(_scene())
    with pytest.raises(SceneError, match=message):
        validate_scene(scene)
    with pytest.raises(SceneError, match=message):
        save_scene(scene, tmp_path / "scene")
    assert not list(tmp_path.iterdir())


def test_the_policy_resolution_form_travels_with_its_scene(tmp_path):
    scene = _scene()
    save_scene(scene, tmp_path / "with")
    stored, built = load_levels(tmp_path / "with"), build_levels(scene)
    for ours, theirs in zip(jax.tree.leaves(stored), jax.tree.leaves(built), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    changed = dataclasses.replace(built, sh=built.sh + 1)
    save_scene(scene, tmp_path / "own", levels=changed)
    np.testing.assert_array_equal(load_levels(tmp_path / "own").sh, changed.sh)
    save_scene(scene, tmp_path / "without", levels=None)
    with pytest.raises(SceneError, match="holds no policy-resolution form"):
        load_levels(tmp_path / "without")
