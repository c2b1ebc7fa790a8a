import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.geometry.transforms import inverse, quaternion_to_matrix, rigid
from jaxrecon.logs.driving_log import DrivingLog, EgoVehicle
from jaxrecon.scene import occupancy
from jaxrecon.simulator import Moment, build_reference, build_world, no_cameras, policy_rig
from jaxrecon.simulator.reference import AFTER, BEFORE
from jaxrecon.simulator.shapes import ego_shapes
from jaxrecon.simulator.standing import standing_pose

CURVE = np.arctan(2.765 / 30.0)


def test_motion_of_closed_forms(log):
    motion = jax.tree.map(lambda leaf: leaf[0], build_reference(log, 0.1).motion)
    np.testing.assert_allclose(motion.speed, 10.0, atol=2e-3)
    np.testing.assert_allclose(motion.steering[70:], CURVE, atol=2e-4)
    np.testing.assert_allclose(motion.steering[:55], 0.0, atol=1e-5)
    # away from where the curvature jumps
    np.testing.assert_allclose(motion.acceleration[70:], 0.0, atol=2e-2)


def test_path_is_the_recorded_one_and_goes_on_straight(log):
    reference = build_reference(log, 0.1)
    np.testing.assert_allclose(reference.recorded.distance, 0.0, atol=1e-5)
    chord = 2 * 30 * np.sin(1 / 60)
    np.testing.assert_allclose(np.diff(reference.route[0]), np.r_[np.ones(60), np.full(69, chord)], atol=1e-4)
    point, heading = reference.at_route(jnp.zeros(2, int), jnp.asarray([BEFORE - 7.0, reference.route[0, -1] + 30.0]))
    end, yaw = log.world_from_ego[-1, :2, 3], float(reference.vertex_heading[0, -1])
    np.testing.assert_allclose(point[0], [-7.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(point[1], end + 30 * np.array([np.cos(yaw), np.sin(yaw)]), atol=1e-3)
    np.testing.assert_allclose(heading, [0.0, 69 / 30], atol=1e-4)
    assert float(reference.paths.arc[0, -1]) == pytest.approx(AFTER + float(reference.route[0, -1]), abs=1e-2)


def test_road_pose_repeats_a_tilted_recording():
    rng = np.random.default_rng(1)
    frames = 30
    quaternion = np.array([1.0, 0, 0, 0]) + 0.05 * rng.standard_normal((frames, 4))
    position = np.stack([2.0 * np.arange(frames), 0.1 * np.arange(frames), 0.3 * np.arange(frames)], axis=-1)
    poses = rigid(quaternion_to_matrix(quaternion), position)
    reference = build_reference(DrivingLog("hill", 0.1 * np.arange(frames), poses), 0.1)
    scene, frame = jnp.zeros(frames, int), jnp.arange(frames)
    motion, route = reference.motion_at(scene, frame), reference.route[0]

    def pose(vehicle):
        moment = Moment(scene, frame, vehicle, reference.nearest(scene, vehicle.position, route))
        return np.asarray(standing_pose(reference, None, ego_shapes([EgoVehicle()]).at(scene), moment), np.float64)

    np.testing.assert_allclose(pose(motion), poses, atol=2e-4)
    # beside the path the car stands on the same plane
    beside = pose(dataclasses.replace(motion, position=motion.position + jnp.asarray([0.0, 1.5])))
    gap = np.einsum("nij,nj->ni", inverse(poses), beside[..., 3])[:, 2]
    assert np.abs(gap).max() < 0.25  # the plane turns by some 0.1 rad from frame to frame


def test_a_standing_car_has_no_speed(log):
    rng = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (40, 1, 1))
    poses[:, :2, 3] = 0.005 * rng.standard_normal((40, 2))
    still = dataclasses.replace(log, world_from_ego=poses, timestamps=0.1 * np.arange(40), cameras=(), tracks=())
    reference = build_reference(still, 0.1)
    assert np.all(np.asarray(reference.motion.speed) < 0.2) and np.all(np.isfinite(reference.motion.steering))
    np.testing.assert_allclose(reference.route, BEFORE, atol=0.05)


@pytest.mark.parametrize("frames", [2, 3, 4])
def test_short_logs_work(log, frames):
    short = dataclasses.replace(
        log, timestamps=log.timestamps[:frames], world_from_ego=log.world_from_ego[:frames], cameras=(), tracks=()
    )
    np.testing.assert_allclose(build_reference(short, 0.1).motion.speed, 10.0, atol=1e-4)


def test_bad_worlds_are_named(log):
    with pytest.raises(ValueError, match="no source; give both source and rig"):
        build_world(log, None, policy_rig(log, 8, 3), occupancy.empty())
    lead = dataclasses.replace(log.tracks[0], world_from_box=log.world_from_ego, valid=np.ones(log.frames, bool))
    with pytest.raises(ValueError, match="collides in every frame \\(130 with actors, 0 with static"):
        build_world(dataclasses.replace(log, tracks=(lead,)), None, None, occupancy.empty())
    with pytest.raises(KeyError, match="no camera 'rear'"):
        policy_rig(log, 8, 3, ["rear"])
    with pytest.raises(ValueError, match="has no cameras"):
        policy_rig(dataclasses.replace(log, cameras=()), 8, 3)
    assert no_cameras().count == 0
