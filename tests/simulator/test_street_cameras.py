"""Reality's cameras against the street's own images, one street and one camera at a time."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import street
from jaxrecon.render import Cameras
from jaxrecon.simulator import CameraSource
from jaxrecon.simulator.street_cameras import StreetCameras, pad_street, stack_streets
from jaxrecon.street import CameraConfig, DrawConfig, StreetConfig
from jaxrecon.street.street import draw_jit

WIDTH, HEIGHT = 24, 16
CAMERA = CameraConfig(width=WIDTH, height=HEIGHT)
BUSY = StreetConfig(seconds=1.0, moving=2, parked=3, pedestrians=1, layout="junction", cameras=(CAMERA,))
QUIET = StreetConfig(seconds=1.0, moving=1, parked=0, pedestrians=1, layout="junction", cameras=(CAMERA,))
SLOTS = 8
SAMPLING = DrawConfig(supersampling=2, longest_list=512)  # few tiles see most of the street


@pytest.fixture(scope="module")
def streets() -> list[street.Street]:
    return [street.generate(BUSY, 1), street.generate(QUIET, 2)]


@pytest.fixture(scope="module")
def moments(streets):
    """Some (street, frame) and what a simulator would ask for: cameras, scenes, actors in more slots than needed."""
    asked = [(0, 2), (1, 0), (0, 7), (1, 9)]
    poses, valid = np.tile(np.eye(4, dtype=np.float32), (len(asked), SLOTS, 1, 1)), np.zeros((len(asked), SLOTS), bool)
    eyes = []
    for row, (place, frame) in enumerate(asked):
        one = streets[place]
        there, seen = one.actor_poses(frame)
        poses[row, : len(there)], valid[row, : len(there)] = there, seen
        eyes.append(one.world_from_ego[frame] @ CAMERA.ego_from_camera())
    lens = np.tile(CAMERA.intrinsics(), (len(asked), 1))
    cameras = Cameras(jnp.asarray(np.stack(eyes), jnp.float32), jnp.asarray(lens, jnp.float32), WIDTH, HEIGHT)
    return asked, cameras, (jnp.asarray([p for p, _ in asked]), jnp.asarray(poses), jnp.asarray(valid))


def test_frames_are_those_of_each_street_alone(streets, moments):
    asked, cameras, actors = moments
    source = StreetCameras(stack_streets([one.world for one in streets]), SAMPLING, depth=True)
    assert isinstance(source, CameraSource)
    drawn = jax.device_get(jax.jit(StreetCameras.draw)(source, cameras, *actors))
    assert drawn.frames.dtype == np.uint8 and not drawn.overflow.any()
    for row, (place, frame) in enumerate(asked):
        pose, lens = cameras.world_from_camera[row : row + 1], cameras.intrinsics[row : row + 1]
        there, seen = streets[place].actor_poses(frame)
        actor_poses = (jnp.asarray(there)[None], jnp.asarray(seen)[None])
        alone = draw_jit(streets[place].world, pose, lens, WIDTH, HEIGHT, *actor_poses, SAMPLING)
        truth = jax.device_get(alone)
        off = np.abs(drawn.frames[row].astype(int) - np.round(255 * truth.rgb[0]).astype(int))
        # The same rays by another program: rounding may turn one at an edge, or a value half way between two.
        assert (off > 1).mean() < 0.005 and off.mean() < 0.1
        sky = ~np.isfinite(truth.depth[0])
        assert (drawn.depth[row][sky] == 0).mean() > 0.99 and (drawn.depth[row][~sky] > 0).mean() > 0.99
    assert np.abs(drawn.frames[0].astype(int) - drawn.frames[1]).mean() > 5, "the streets differ"


def test_frames_do_not_depend_on_how_they_are_divided(streets, moments):
    """Neither on the cameras that are drawn side by side nor on the tiles that share lists of solids."""
    _, cameras, actors = moments
    stacked = stack_streets([one.world for one in streets])
    whole = jax.jit(StreetCameras.draw)(StreetCameras(stacked, SAMPLING, depth=True), cameras, *actors)
    fine = dataclasses.replace(SAMPLING, tile_px=8, tiles_at_once=5)
    divided = StreetCameras(stacked, fine, together=3, depth=True)
    drawn = jax.jit(StreetCameras.draw)(divided, cameras, *actors)
    off = np.abs(np.asarray(drawn.frames).astype(int) - np.asarray(whole.frames))
    assert off.max() <= 1 and off.mean() < 1e-3  # the same rays by another program
    np.testing.assert_allclose(drawn.depth, whole.depth, rtol=1e-5)


def test_actors_are_drawn_where_the_simulator_has_them(streets, moments):
    """Unlike a recording: a car put before the camera hides what is behind it."""
    _, cameras, (scene, poses, valid) = moments
    source = StreetCameras(stack_streets([one.world for one in streets]), SAMPLING, depth=True)
    ego = streets[0].world_from_ego[2]
    ahead = ego.copy()
    ahead[:3, 3] += 8.0 * ego[:3, 0] + np.array([0.0, 0.0, 0.75])
    poses = poses.at[0, 0].set(jnp.asarray(ahead, jnp.float32))
    drawn = jax.device_get(jax.jit(StreetCameras.draw)(source, cameras, scene, poses, valid))
    # From 1.2 m before the rear axle to the back of a car of some 4.4 m, 8 m ahead of it.
    assert 3.5 < np.median(drawn.depth[0, HEIGHT // 2 : HEIGHT // 2 + 3, WIDTH // 2 - 2 : WIDTH // 2 + 2]) < 6.5


def test_padding_keeps_what_there_is(streets):
    small = streets[1].world
    wide = pad_street(small, (512, 512, 1), 9)
    counts = [int(kind.valid.sum()) for kind in small.kinds]
    assert [int(kind.valid.sum()) for kind in wide.kinds] == counts
    assert [kind.valid.shape[0] for kind in wide.kinds][:2] == [512, 512]
    assert wide.crowns.valid.shape == small.crowns.valid.shape, "never fewer than there are"
    assert wide.actor_sizes.shape == (9, 3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(wide))


def test_bad_streets_are_named(streets, moments):
    with pytest.raises(ValueError, match="stack_streets got no streets"):
        stack_streets([])
    _, cameras, (scene, poses, valid) = moments
    source = StreetCameras(stack_streets([one.world for one in streets]))
    with pytest.raises(ValueError, match="a street has 6 actors but the world has only 4 slots"):
        source.draw(cameras, scene, poses[:, :4], valid[:, :4])
