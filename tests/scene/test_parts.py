import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.scene.files import SceneError
from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.parts import read_parts, write_parts
from jaxrecon.scene.ply import PlyError, read_ply, write_ply
from jaxrecon.scene.scene import Scene
from jaxrecon.storage import StorageError

LEAVES = ("means", "quaternions", "log_scales", "opacity_logits", "sh")


def _scene(degree: int = 2, count: int = 14, actors: int = 3) -> Scene:
    """Slots alternate between the static world and all actors but the last, which has none; some are unused."""
    keys = jax.random.split(jax.random.key(5), 7)
    gaussians = Gaussians(
        means=jax.random.normal(keys[0], (count, 3)),
        quaternions=jax.random.normal(keys[1], (count, 4)),
        log_scales=jax.random.normal(keys[2], (count, 3)),
        opacity_logits=jax.random.normal(keys[3], (count,)),
        sh=jax.random.normal(keys[4], (count, (degree + 1) ** 2, 3)),
        valid=jnp.arange(count) % 5 != 4,
    )
    sizes = jax.random.uniform(keys[5], (actors, 3), minval=1.0, maxval=5.0)
    sky = jax.random.uniform(keys[6], (4, 8, 3))
    return Scene(gaussians, (jnp.arange(count) % max(actors, 1)).astype(jnp.int32), sky, sizes)


@pytest.mark.parametrize(("degree", "actors"), [(0, 3), (1, 3), (2, 1), (3, 0)])
def test_a_scene_comes_back_exactly_in_the_order_of_its_groups(tmp_path, degree, actors):
    scene = _scene(degree, actors=actors)
    write_parts(scene, tmp_path / "parts")
    read = read_parts(tmp_path / "parts")
    valid, group = np.asarray(scene.gaussians.valid), np.asarray(scene.group)
    order = np.concatenate([np.flatnonzero(valid & (group == g)) for g in range(actors + 1)])
    for leaf in LEAVES:
        expected = np.asarray(getattr(scene.gaussians, leaf))[order]
        np.testing.assert_array_equal(getattr(read.gaussians, leaf), expected)
    np.testing.assert_array_equal(read.group, group[order])
    np.testing.assert_array_equal(read.sky, scene.sky)
    np.testing.assert_array_equal(read.actor_sizes, scene.actor_sizes)
    assert read.gaussians.valid.all()
    assert [leaf.dtype for leaf in jax.tree.leaves(read)] == [leaf.dtype for leaf in jax.tree.leaves(scene)]


def test_parts_are_what_other_tools_read(tmp_path):
    scene = _scene()
    write_parts(scene, tmp_path / "parts")
    names = sorted(file.name for file in (tmp_path / "parts").iterdir())
    actors = ["actor_000.ply", "actor_001.ply", "actor_002.ply"]
    assert names == [*actors, "background.ply", "manifest.json", "scene.json"]
    write_ply(scene, tmp_path / "static.ply")
    assert (tmp_path / "parts" / "background.ply").read_bytes() == (tmp_path / "static.ply").read_bytes()
    own = np.asarray(scene.gaussians.valid & (scene.group == 2))
    actor = read_ply(tmp_path / "parts" / "actor_001.ply")
    np.testing.assert_array_equal(actor.means, np.asarray(scene.gaussians.means)[own])  # in its own frame
    assert read_ply(tmp_path / "parts" / "actor_002.ply").capacity == 0


def test_what_another_tool_changed_is_read_where_that_is_said(tmp_path):
    write_parts(_scene(degree=2), tmp_path / "parts")
    write_parts(_scene(degree=1), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "actor_000.ply", tmp_path / "parts" / "actor_000.ply")
    with pytest.raises(StorageError, match=r"actor_000\.ply: .*changed.*pass edited=True"):
        read_parts(tmp_path / "parts")
    read = read_parts(tmp_path / "parts", edited=True)
    actor = read_ply(tmp_path / "other" / "actor_000.ply")
    own = np.asarray(read.group) == 1
    assert read.gaussians.sh.shape[1] == 9
    np.testing.assert_array_equal(read.gaussians.sh[own, :4], actor.sh)
    np.testing.assert_array_equal(read.gaussians.sh[own, 4:], 0.0)


def test_an_existing_folder_is_kept_and_an_unsound_scene_leaves_nothing(tmp_path):
    scene = _scene()
    write_parts(scene, tmp_path / "parts")
    with pytest.raises(StorageError, match="overwrite=True"):
        write_parts(_scene(degree=0), tmp_path / "parts")
    assert read_parts(tmp_path / "parts").gaussians.sh.shape[1] == 9
    write_parts(_scene(degree=0), tmp_path / "parts", overwrite=True)
    assert read_parts(tmp_path / "parts").gaussians.sh.shape[1] == 1
    with pytest.raises(SceneError, match=r"group\[0\] is 9"):
        write_parts(scene.replace(group=scene.group.at[0].set(9)), tmp_path / "unsound")
    assert not (tmp_path / "unsound").exists()


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("{", r"scene\.json: no sizes and sky could be read"),
        ("[]", r"scene\.json: no sizes and sky could be read"),
        ('{"actor_sizes": []}', r"scene\.json: no sizes and sky could be read .*sky"),
        ('{"actor_sizes": [[1, 2], [3]], "sky": []}', r"scene\.json: no sizes and sky could be read"),
        ('{"actor_sizes": [[1, 2]], "sky": []}', r"actor_sizes has shape \(1, 2\), expected \(actors, 3\)"),
        ('{"actor_sizes": [], "sky": [[[0, 0, 0]]]}', r"sky has shape \(1, 1, 3\).*write the parts again"),
    ],
)
def test_a_broken_note_is_named(tmp_path, note, message):
    write_parts(_scene(), tmp_path / "parts")
    (tmp_path / "parts" / "scene.json").write_text(note)
    with pytest.raises(SceneError, match=message):
        read_parts(tmp_path / "parts", edited=True)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(StorageError, match="no such folder"):
        read_parts(tmp_path / "absent")
    with pytest.raises(SceneError, match=r"absent.scene\.json: no sizes and sky could be read"):
        read_parts(tmp_path / "absent", edited=True)
    write_parts(_scene(), tmp_path / "parts")
    (tmp_path / "parts" / "actor_001.ply").unlink()
    with pytest.raises(StorageError, match=r"actor_001\.ply: .*missing"):
        read_parts(tmp_path / "parts")
    with pytest.raises(PlyError, match=r"actor_001\.ply: there is no such file"):
        read_parts(tmp_path / "parts", edited=True)
    note = json.loads((tmp_path / "parts" / "scene.json").read_text())
    assert set(note) == {"actor_sizes", "sky"}
