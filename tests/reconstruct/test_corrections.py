import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.transform

from jaxrecon.reconstruct import collect_views, correct_views, no_corrections
from jaxrecon.reconstruct.corrections import corrected_camera, fill_corrections, place_between, rotation_of
from jaxrecon.reconstruct.timeline import lies_between, time_weights


@pytest.mark.parametrize("size", [0.0, 1e-6, 1e-4, 0.3, 3.0])
def test_rotation_vectors_are_those_of_scipy(size):
    direction = np.array([0.6, -0.64, 0.48])
    expected = scipy.spatial.transform.Rotation.from_rotvec(size * direction).as_matrix()
    np.testing.assert_allclose(rotation_of(jnp.asarray(size * direction, jnp.float32)), expected, atol=2e-6)


def test_a_rotation_vector_has_its_gradient_at_zero():
    jacobian = jax.jacobian(rotation_of)(jnp.zeros(3))
    expected = np.zeros((3, 3, 3))
    for axis, (i, j) in enumerate(((2, 1), (0, 2), (1, 0))):
        expected[i, j, axis], expected[j, i, axis] = 1.0, -1.0
    np.testing.assert_allclose(jacobian, expected, atol=1e-6)


def test_no_corrections_change_nothing(small_log):
    views = collect_views(small_log)
    same = correct_views(views, no_corrections(8, 1))
    np.testing.assert_allclose(same.world_from_camera, views.world_from_camera, atol=1e-6)
    np.testing.assert_allclose(same.world_from_actor, views.world_from_actor, atol=1e-6)


def test_a_rig_turns_about_its_own_place_and_a_box_in_its_own_frame(small_log):
    stereo = small_log.cameras[0]
    aside = stereo.ego_from_camera.copy()
    aside[1, 3] += 0.5
    right = dataclasses.replace(stereo, name="right", ego_from_camera=aside)
    views = collect_views(dataclasses.replace(small_log, cameras=(stereo, right)))
    none = no_corrections(8, 1)
    moved = dataclasses.replace(
        none,
        rig_rotation=none.rig_rotation.at[3, 2].set(0.2),
        rig_shift=none.rig_shift.at[3, 0].set(0.7),
        actor_yaw=none.actor_yaw.at[5, 0].set(0.1),
        actor_shift=none.actor_shift.at[5, 0, 1].set(0.4),
    )
    after = correct_views(views, moved)
    pair = np.flatnonzero(views.frame == 3)
    before_eyes, eyes = views.world_from_camera[pair, :3, 3], after.world_from_camera[pair, :3, 3]
    np.testing.assert_allclose(eyes.mean(axis=0) - before_eyes.mean(axis=0), [0.7, 0, 0], atol=1e-5)
    turn = scipy.spatial.transform.Rotation.from_rotvec([0, 0, 0.2]).as_matrix()
    np.testing.assert_allclose(eyes[1] - eyes[0], turn @ (before_eyes[1] - before_eyes[0]), atol=1e-5)
    np.testing.assert_allclose(
        after.world_from_camera[pair[0], :3, :3], turn @ views.world_from_camera[pair[0], :3, :3], atol=1e-5
    )
    box = np.linalg.inv(views.world_from_actor[5, 0]) @ after.world_from_actor[5, 0]
    np.testing.assert_allclose(box[:3, 3], [0, 0.4, 0], atol=1e-5)
    np.testing.assert_allclose(np.arctan2(box[1, 0], box[0, 0]), 0.1, atol=1e-5)
    elsewhere = views.frame != 3
    np.testing.assert_allclose(after.world_from_camera[elsewhere], views.world_from_camera[elsewhere], atol=1e-5)
    device = jax.tree.map(jnp.asarray, views)
    np.testing.assert_allclose(corrected_camera(moved, device, jnp.int32(pair[1])), after.world_from_camera[pair[1]])


def test_heldout_frames_and_absent_boxes_take_their_neighbours_corrections():
    none = no_corrections(5, 2)
    ramp = jnp.arange(5.0)
    fitted = np.array([True, True, False, True, True])
    own = np.array([[True, True, False, True, True], [True, False, False, False, True]])
    rough = dataclasses.replace(
        none,
        rig_shift=jnp.where(jnp.asarray(fitted), ramp, 77.0)[:, None] * jnp.ones(3),
        actor_yaw=jnp.where(jnp.asarray(own), ramp, -55.0).T,
        actor_shift=jnp.where(jnp.asarray(own), 2 * ramp, -55.0).T[..., None] * jnp.ones(3),
    )
    filled = fill_corrections(
        rough, jnp.asarray(time_weights(fitted)), jnp.asarray(np.stack([time_weights(row) for row in own]))
    )
    np.testing.assert_allclose(filled.rig_shift[:, 1], ramp, atol=1e-5)
    np.testing.assert_allclose(filled.actor_yaw, jnp.stack([ramp, ramp], axis=1), atol=1e-5)
    np.testing.assert_allclose(filled.actor_shift[..., 2], 2 * jnp.stack([ramp, ramp], axis=1), atol=1e-5)


def test_a_box_between_two_fitted_frames_lies_halfway_whatever_its_own_record_says(small_log):
    views = jax.tree.map(jnp.asarray, collect_views(small_log))
    noise = jnp.eye(4).at[:3, 3].set(jnp.array([0.3, -0.2, 0.1]))
    poses = views.world_from_actor.at[2].set(views.world_from_actor[2] @ noise)
    views = dataclasses.replace(views, world_from_actor=poses)
    seen = np.arange(8) != 2
    none = no_corrections(8, 1)
    shifted = dataclasses.replace(none, actor_shift=none.actor_shift.at[3, 0, 1].set(0.4))
    placed = place_between(
        shifted, views, jnp.asarray(time_weights(seen))[None], jnp.asarray(lies_between(seen, 2))[None]
    )
    after = correct_views(views, placed).world_from_actor[:, 0]
    expected = correct_views(views, shifted).world_from_actor[:, 0]
    np.testing.assert_allclose(after[2, :3, 3], (expected[1, :3, 3] + expected[3, :3, 3]) / 2, atol=1e-5)
    nose, mean = after[2, :2, 0], (expected[1, :2, 0] + expected[3, :2, 0]) / 2
    np.testing.assert_allclose(nose / np.linalg.norm(nose), mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_array_equal(after[seen], expected[seen])
