"""Cameras that are on the car, and those that cannot be."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs import read_log
from jaxrecon.logs.driving_log import CameraMount, CameraStream, EgoVehicle
from jaxrecon.scene import occupancy
from jaxrecon.simulator import CameraRig, build_world, policy_rig
from jaxrecon.simulator.rigs import check_rig

FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def rig(place, yaw=0.0) -> CameraRig:
    mount = rigid(yaw_to_matrix(np.array(yaw)) @ FORWARD, np.array(place, float))
    return CameraRig(jnp.asarray(mount[None], jnp.float32), jnp.ones((1, 4)), 8, 3, ("front",))


@pytest.mark.parametrize(
    ("place", "yaw"),
    [
        ((1.5, 0.0, 1.4), 0.0),  # behind the windscreen
        ((1.5, 0.0, 1.65), np.pi),  # on the roof, to the rear
        ((3.9, 0.0, 0.5), 0.0),  # in the front bumper
        ((-1.05, 0.0, 0.9), np.pi),  # in the rear one
        ((2.0, 1.0, 1.0), np.pi / 2),  # in a mirror
        ((1.4, 0.0, 1.5), 1.3),  # of a ring
    ],
)
def test_plausible_mounts_pass(place, yaw):
    check_rig(rig(place, yaw), EgoVehicle())


@pytest.mark.parametrize(
    ("place", "yaw", "message"),
    [
        ((-6.0, 0.0, 1.5), 0.0, r"'front' is mounted at \[-6.0, 0.0, 1.5\] m .* expected it on the car"),
        ((1.5, 0.0, -0.5), 0.0, "expected it on the car"),
        ((1.5, 0.0, 0.6), 0.0, "inside the car's own body"),
        ((-1.3, 0.0, 0.7), 0.0, "looks into the car's own body"),  # behind it, forwards
        ((3.9, 0.0, 0.5), np.pi, "looks into the car's own body"),
    ],
)
def test_impossible_mounts_are_named(place, yaw, message):
    with pytest.raises(ValueError, match=message):
        check_rig(rig(place, yaw), EgoVehicle())


def test_a_world_refuses_them(log, simulator):
    with pytest.raises(ValueError, match="expected it on the car"):
        build_world(log, simulator.world.source, rig((20.0, 0.0, 1.0)), occupancy.empty())


def test_a_rig_of_several_cameras_is_the_logs_own(log):
    """A stereo pair and a camera to the side, each with its own intrinsics and mount."""
    base = log.cameras[0]
    sideways = rigid(yaw_to_matrix(np.array(1.0)) @ FORWARD, np.array([1.4, 0.3, 1.5]))
    second = base.ego_from_camera.copy()
    second[1, 3] -= 0.53
    cameras = (
        base,
        CameraStream("right", base.intrinsics, second, base.images),
        CameraStream("side", np.array([20.0, 21.0, 30.0, 11.0]), sideways, base.images),
    )
    several = dataclasses.replace(log, cameras=cameras)
    made = policy_rig(several, 16, 6)
    assert made.count == 3 and made.names == ("front", "right", "side")
    apart = made.ego_from_camera[1, :3, 3] - made.ego_from_camera[0, :3, 3]
    np.testing.assert_allclose(apart, [0, -0.53, 0], atol=1e-6)
    # a quarter of the pixels along each side
    np.testing.assert_allclose(made.intrinsics[2], np.array([20.0, 21.0, 30.0, 11.0]) / 4, rtol=1e-6)
    chosen = policy_rig(several, 16, 6, ["side", "front"])
    np.testing.assert_array_equal(chosen.intrinsics, made.intrinsics[jnp.asarray([2, 0])])


def test_mounts_without_images_will_do(log):
    base = log.cameras[0]
    mount = CameraMount("roof", base.intrinsics, base.size, base.ego_from_camera)
    bare = dataclasses.replace(log, cameras=(), mounts=(mount,))
    found, expected = policy_rig(bare, 16, 6), policy_rig(log, 16, 6)
    assert found.names == ("roof",)
    np.testing.assert_array_equal(found.intrinsics, expected.intrinsics)
    both = dataclasses.replace(log, mounts=(mount,))
    assert policy_rig(both, 16, 6).names == ("front",)
    assert policy_rig(both, 16, 6, ["roof", "front"]).names == ("roof", "front")
    with pytest.raises(KeyError, match=r"no camera 'rear'; it has \['roof', 'front'\]"):
        policy_rig(both, 16, 6, ["rear"])


@pytest.mark.parametrize(("folder", "count"), [("kitti-raw-drive_0005-400px", 2), ("kitti-raw-drive_0013", 1)])
def test_rigs_of_real_cars_are_plausible(data_folder, folder, count):
    if not (data_folder / folder).is_dir():
        pytest.skip(f"no recording at {data_folder / folder}")
    log = read_log(data_folder / folder)
    rig = policy_rig(log, 96, 32)
    assert rig.count == count
    check_rig(rig, log.ego)


def test_the_ring_of_argoverse_2_is_plausible(data_folder):
    logs = sorted(path for path in (data_folder / "argoverse2-logs").glob("**/calibration/..") if path.is_dir())
    if not logs:
        pytest.skip(f"no recordings with calibration in {data_folder / 'argoverse2-logs'}")
    log = read_log(logs[0].resolve())
    rig = policy_rig(log, 96, 64)
    assert rig.count >= 7
    check_rig(rig, log.ego)
