import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import CATEGORIES, DrivingLog, Track
from jaxrecon.traffic import check_rate, replay

FRAMES = 6


def make_log() -> DrivingLog:
    poses = rigid(yaw_to_matrix(np.full(FRAMES, 0.5)), np.stack([np.arange(6.0), np.ones(6), np.full(6, 0.7)], axis=-1))
    valid = np.array([False, True, True, True, False, True])
    poses[~valid] = np.eye(4)
    track = Track("one", "cyclist", np.array([1.8, 0.6, 1.7]), poses, valid)
    return DrivingLog("six", 0.1 * np.arange(FRAMES), np.tile(np.eye(4), (FRAMES, 1, 1)), tracks=(track,))


def test_tracks_keep_their_order_and_padding_is_identity():
    log = make_log()
    found = replay(log, capacity=3)
    assert (found.frames, found.capacity) == (6, 3)
    np.testing.assert_allclose(found.world_from_actor[0, :, 0], log.tracks[0].world_from_box, atol=1e-6)
    np.testing.assert_array_equal(found.valid[0, :, 0], log.tracks[0].valid)
    assert not found.valid[0, :, 1:].any()
    np.testing.assert_array_equal(found.world_from_actor[0, :, 1:], np.broadcast_to(np.eye(4), (6, 2, 4, 4)))
    assert CATEGORIES[int(found.category[0, 0])] == "cyclist"


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_boxes_of_a_batch_of_frames(batch):
    scene = jnp.zeros(batch, int)
    boxes = replay(make_log(), capacity=2).at(scene, scene + 3).boxes
    assert boxes.centre.shape == (*batch, 2, 2)
    np.testing.assert_allclose(boxes.centre[..., 0, :], np.broadcast_to([3.0, 1.0], (*batch, 2)), atol=1e-6)
    np.testing.assert_allclose(boxes.heading[..., 0], np.broadcast_to(0.5, batch), atol=1e-6)
    np.testing.assert_allclose(boxes.length[..., 0], np.broadcast_to(1.8, batch), rtol=1e-6)
    np.testing.assert_allclose(boxes.width[..., 0], np.broadcast_to(0.6, batch), rtol=1e-6)


def test_an_actor_that_only_wanders_about_its_place_is_parked():
    log = make_log()
    assert not replay(log, capacity=2).parked.any()
    wander = 0.3 * np.random.default_rng(0).uniform(-1, 1, (FRAMES, 3))
    still = log.tracks[0].world_from_box.copy()
    still[:, :3, 3] = wander + np.array([40.0, 2.0, 0.8])
    parked = dataclasses.replace(log.tracks[0], world_from_box=still)
    np.testing.assert_array_equal(replay(dataclasses.replace(log, tracks=(parked,)), 2).parked, [[True, False]])


def test_no_tracks_is_no_traffic():
    assert replay(dataclasses.replace(make_log(), tracks=())).at(jnp.asarray(0), jnp.asarray(0)).centre.shape == (0, 2)


def test_more_tracks_than_slots_is_named():
    with pytest.raises(ValueError, match="log six has 1 tracks but capacity is 0; raise the capacity"):
        replay(make_log(), capacity=0)


def test_uneven_rate_is_named():
    stamps = 0.1 * np.arange(FRAMES)
    stamps[4:] += 0.1
    with pytest.raises(ValueError, match=r"frame 3 to 4 takes 0.2000 s but the mean is 0.1200 s; resample"):
        replay(dataclasses.replace(make_log(), timestamps=stamps))
    with pytest.raises(ValueError, match="has 1 frames"):
        check_rate(dataclasses.replace(make_log(), timestamps=stamps[:1]))
