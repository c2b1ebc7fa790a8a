"""Data sets of cousins: what they show, that they resume to the same bytes, verify, and go stale."""

import dataclasses
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import agents
from jaxrecon.dynamics import DEFAULT_LIMITS, LATERAL, LONGITUDINAL, VehicleState
from jaxrecon.geometry.polylines import polyline
from jaxrecon.scene import Gaussians, Scene
from jaxrecon.trajectories import (
    NAMES,
    CousinDataError,
    Source,
    StaleCousinsError,
    read_cousins,
    read_plan,
    read_source,
    scene_content,
    show,
    write_cousins,
)
from jaxrecon.trajectories.showing import FARTHEST, cousin_world, labelled_steps, returning

STRIDE = 5
SOURCE = Source("straight", "a" * 64, {"seed": 0, "stride": STRIDE})


@pytest.fixture(scope="module")
def rows(made, simulator, log):
    """Shows a cousin; each once."""
    done: dict = {}

    def rows(index: int):
        if index not in done:
            done[index] = show(simulator, made.cousins, index, log.ego, made.path, STRIDE)
        return done[index]

    return rows


@pytest.fixture(scope="module")
def some(made):
    """One cousin of each family that has any."""
    return made.cousins.take(np.unique(made.cousins.family, return_index=True)[1])


@pytest.fixture(scope="module")
def indices(made):
    return np.unique(made.cousins.family, return_index=True)[1].tolist()


@pytest.fixture(scope="module")
def written(tmp_path_factory, some, indices, rows):
    """A finished data set of three cousins a shard."""
    folder = tmp_path_factory.mktemp("data") / SOURCE.name
    write_cousins(folder, SOURCE, some, lambda number: rows(indices[number]), 3, progress=False)
    return folder


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def family(made, indices, name: str) -> int:
    """Index of the first cousin of a family."""
    return next(index for index in indices if made.cousins.family[index] == NAMES.index(name))


def test_rows_say_where_the_cousin_is_and_what_it_does(made, indices, rows):
    for index in indices:
        one, found = made.cousins.take(index), rows(index)
        at = labelled_steps(made.cousins.steps, 0.1, STRIDE)
        np.testing.assert_array_equal(found["step"], at)
        vehicle = one.vehicle
        np.testing.assert_allclose(found["ego"][:, 0], vehicle.speed[at], atol=1e-5)
        np.testing.assert_allclose(found["ego"][:, 2], vehicle.steering[at], atol=1e-5)
        np.testing.assert_allclose(found["action"][:, 0], one.acceleration[at], atol=1e-6)
        # The source paints where the camera is, which sits 1.5 m ahead of the rear axle, in decimetres.
        camera = vehicle.position[at, 0] + 1.5 * np.cos(vehicle.yaw[at])
        shown = found["frames"][:, 0, 0, 0, 0].astype(int)
        assert (np.abs((shown - np.round(10 * camera)) % 256) % 255 <= 1).all()
        assert (found["frames"][:, 0, 0, 0, 2] == 2).all()  # both others are there


def test_labels_are_where_the_cousin_is_half_a_second_later(made, indices, rows):
    for name in ("lane_change", "stop", "offset"):
        index = family(made, indices, name)
        vehicle, found = made.cousins.take(index).vehicle, rows(index)
        at = found["step"]
        moved = vehicle.position[at + 5] - vehicle.position[at]
        cos, sin = np.cos(vehicle.yaw[at]), np.sin(vehicle.yaw[at])
        ahead, left = moved[:, 0] * cos + moved[:, 1] * sin, moved[:, 1] * cos - moved[:, 0] * sin
        assert np.abs(LONGITUDINAL[found["longitudinal"]] - ahead).max() < 0.13  # half of an anchor's spacing
        assert np.abs(LATERAL[found["lateral"]] - left).max() < 0.015


def test_navigation_leads_the_cousins_own_way(made, indices, rows):
    """Half way into the next lane the target is that lane's centre, not the recorded one's."""
    index = family(made, indices, "lane_change")
    vehicle, found = made.cousins.take(index).vehicle, rows(index)
    at = found["step"]
    target = found["navigation"][:, 4:]
    world_y = vehicle.position[at, 1] + target[:, 0] * np.sin(vehicle.yaw[at]) + target[:, 1] * np.cos(vehicle.yaw[at])
    np.testing.assert_allclose(world_y, 3.5, atol=0.4)


def test_recovery_labels_lead_back(made, indices, rows):
    index = family(made, indices, "offset")
    vehicle, found = made.cousins.take(index).vehicle, rows(index)
    lateral = vehicle.position[found["step"], 1]
    assert (np.sign(LATERAL[found["recovery_lateral"]]) == -np.sign(lateral)).all() and found["recovery_valid"].all()
    assert np.abs(LATERAL[found["lateral"]]).max() < 0.02  # while the cousin itself stays beside the path


def test_recovery_navigates_along_the_recorded_route(made, indices, rows, log):
    """Half way into the next lane its target is the recorded lane's centre, and beyond the log's end there is none."""
    index = family(made, indices, "lane_change")
    vehicle, found = made.cousins.take(index).vehicle, rows(index)
    at, target = found["step"], found["recovery_navigation"][:, 4:]
    world_y = vehicle.position[at, 1] + target[:, 0] * np.sin(vehicle.yaw[at]) + target[:, 1] * np.cos(vehicle.yaw[at])
    np.testing.assert_allclose(world_y, 0.0, atol=0.4)
    for index in indices:
        vehicle, found = made.cousins.take(index).vehicle, rows(index)
        end = float(log.world_from_ego[-1, 0, 3]) + FARTHEST
        assert not found["recovery_valid"][vehicle.position[found["step"], 0] > end].any()


def test_returning_is_pursuit_and_knows_when_it_is_too_far():
    line = polyline(jnp.asarray([[0.0, 0.0], [200.0, 0.0]]))
    place = jnp.asarray([[50.0, 1.0], [50.0, -1.0], [50.0, 0.0], [50.0, 5.0], [50.0, 0.0]])
    flat = jnp.zeros(5)
    vehicle = VehicleState(place, flat.at[4].set(1.2), flat + 8.0, flat, flat)
    lateral, longitudinal, valid = returning(line, vehicle, jnp.float32(2.765), DEFAULT_LIMITS)
    # 12 m ahead and 1 m aside: curvature 2 / 145 over 4 m is 0.11 m.
    np.testing.assert_allclose(LATERAL[lateral[:3]], [-0.11, 0.11, 0.0], atol=0.013)
    np.testing.assert_allclose(LONGITUDINAL[longitudinal[:3]], 4.0, atol=0.13)
    assert valid.tolist() == [True, True, True, False, False]


def test_a_data_set_reads_back(written, some):
    data = read_cousins(written, SOURCE.scene)
    rows = data.rows
    assert data.source == read_source(written) == SOURCE and data.started.sum() == some.count
    per = len(labelled_steps(some.steps, 0.1, STRIDE))
    assert len(data.started) == per * some.count and data.demonstrations.valid.all()
    assert data.demonstrations.observation.frames.dtype == np.uint8
    np.testing.assert_array_equal(rows["cousin"], np.repeat(np.arange(some.count), per))
    np.testing.assert_array_equal(rows["family"], np.repeat(some.family, per))
    for first, second in zip(jax.tree.leaves(read_plan(written)), jax.tree.leaves(some), strict=True):
        np.testing.assert_array_equal(first, second)


def test_labels_and_families_can_be_chosen(written):
    own, back = read_cousins(written), read_cousins(written, labels="recovery")
    assert (own.demonstrations.lateral != back.demonstrations.lateral).any()
    np.testing.assert_array_equal(back.demonstrations.valid, own.rows["recovery_valid"])
    chosen = read_cousins(written, families=("swerve", "stop"))
    assert set(chosen.rows["family"]) == {NAMES.index("swerve"), NAMES.index("stop")} and chosen.started.sum() == 2
    nothing = [name for name in NAMES if NAMES.index(name) not in own.rows["family"]]
    with pytest.raises(CousinDataError, match="expected cousins of"):
        read_cousins(written, families=(nothing[0] if nothing else "none",))


def test_a_stopped_writer_leaves_the_same_bytes_when_it_goes_on(tmp_path, written, some, indices, rows):
    folder, shown = tmp_path / SOURCE.name, []

    def interrupted(number: int):
        shown.append(number)
        if len(shown) == 5:
            raise KeyboardInterrupt
        return rows(indices[number])

    with pytest.raises(KeyboardInterrupt):
        write_cousins(folder, SOURCE, some, interrupted, 3, progress=False)
    assert (folder / "shard-00000").exists() and not (folder / "shard-00001").exists()
    with pytest.raises(CousinDataError, match=r"index.*Run the command that writes it again"):
        read_cousins(folder)
    again = []

    def going_on(number: int):
        again.append(number)
        return rows(indices[number])

    first = write_cousins(folder, SOURCE, some, going_on, 3, progress=False)
    assert again == list(range(3, some.count))  # the finished shard was not drawn again
    assert contents(folder) == contents(written)
    assert write_cousins(folder, SOURCE, some, going_on, 3, progress=False) == first and len(again) == some.count - 3


def test_damage_and_another_shard_are_found(tmp_path, some, indices, rows):
    folder = tmp_path / SOURCE.name
    write_cousins(folder, SOURCE, some, lambda number: rows(indices[number]), 3, progress=False)
    file = folder / "shard-00001" / "lateral.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CousinDataError, match=r"shard-00001/lateral.npy: expected sha256"):
        read_cousins(folder)
    (folder / "shard-00001").rename(tmp_path / "away")
    (folder / "shard-00000").rename(folder / "shard-00001")
    (tmp_path / "away").rename(folder / "shard-00000")
    with pytest.raises(CousinDataError, match=r"shard-00000.*(another shard|sha256)"):
        read_cousins(folder)


def test_a_shard_that_was_drawn_again_is_known_to_the_index(tmp_path, some, indices, rows):
    folder = tmp_path / SOURCE.name
    first = write_cousins(folder, SOURCE, some, lambda number: rows(indices[number]), 3, progress=False)
    shutil.rmtree(folder / "shard-00000")

    def otherwise(number: int):
        drawn = rows(indices[number])
        return {**drawn, "frames": 255 - drawn["frames"]}

    again = write_cousins(folder, SOURCE, some, otherwise, 3, progress=False)
    data = read_cousins(folder)
    assert again != first and data.content == again
    frames = data.demonstrations.observation.frames
    per = len(labelled_steps(some.steps, 0.1, STRIDE))
    for number in (0, 3):
        drawn = rows(indices[number])["frames"]
        np.testing.assert_array_equal(frames[number * per : (number + 1) * per], 255 - drawn if number < 3 else drawn)


def test_a_cousins_world_has_the_lights_and_starts_of_its_own_steps(made, indices, world, log):
    index = max(indices, key=lambda one: int(made.cousins.frame[one, 0]))
    one = jax.tree.map(np.asarray, made.cousins.take(index))
    begins, steps = int(one.frame[0]), made.cousins.steps
    assert begins > 0
    driven = cousin_world(world, log.ego, made.cousins, index)
    red, told = np.asarray(world.roads.stop)[0], np.asarray(driven.roads.stop)[0]
    np.testing.assert_array_equal(told[:steps], red[one.frame])
    assert red.any() and (told[:steps] != red[:steps]).any()
    allowed = np.asarray(driven.start_allowed)
    # It hits nobody, or it would have been rejected; and there are no starts after its end.
    assert allowed.shape[1] == int(driven.frames[0]) > steps
    assert allowed[0, :steps].all() and not allowed[0, steps:].any()


def test_an_improved_scene_makes_it_stale(written, some, indices, rows):
    better = dataclasses.replace(SOURCE, scene="b" * 64)
    with pytest.raises(StaleCousinsError, match=f"content {'b' * 12}.*content {'a' * 12}: the data set is stale"):
        read_cousins(written, better.scene)
    with pytest.raises(StaleCousinsError, match="Draw the cousins again from the scene as it is now"):
        write_cousins(written, better, some, lambda number: rows(indices[number]), 3, progress=False)
    other = dataclasses.replace(SOURCE, configuration={"seed": 1, "stride": STRIDE})
    with pytest.raises(CousinDataError, match=r"expected configuration .*'seed': 1"):
        write_cousins(written, other, some, lambda number: rows(indices[number]), 3, progress=False)
    with pytest.raises(CousinDataError, match="expected per_shard 2, received per_shard 3"):
        write_cousins(written, SOURCE, some, lambda number: rows(indices[number]), 2, progress=False)
    with pytest.raises(CousinDataError, match="expected the same cousins as now"):
        write_cousins(written, SOURCE, some.take(slice(1, None)), lambda number: rows(0), 3, progress=False)


def test_any_change_of_a_scene_changes_its_content():
    count = 4
    gaussians = Gaussians(
        means=jnp.zeros((count, 3)), quaternions=jnp.tile(jnp.asarray([1.0, 0, 0, 0]), (count, 1)),
        log_scales=jnp.zeros((count, 3)), opacity_logits=jnp.zeros(count), sh=jnp.zeros((count, 1, 3)),
        valid=jnp.ones(count, bool),
    )  # fmt: skip
    scene = Scene(gaussians, jnp.zeros(count, jnp.int32), jnp.zeros((2, 4, 3)), jnp.zeros((0, 3)))
    moved = dataclasses.replace(scene, sky=scene.sky.at[0, 0, 0].set(1e-3))
    assert scene_content(scene) == scene_content(jax.tree.map(jnp.array, scene)) != scene_content(moved)


def test_imitation_learns_from_it_as_it_is(written):
    data = read_cousins(written)
    network = agents.PolicyConfig(cameras=1, width=8, height=4)
    config = agents.ImitationConfig(policy=network, epochs=6, batch=16, epochs_per_call=6)
    _, curves = agents.imitate.fit(data.demonstrations, config, jax.random.key(0), progress=False)
    assert np.isfinite(curves["loss"]).all() and curves["loss"][-1] < curves["loss"][0]
