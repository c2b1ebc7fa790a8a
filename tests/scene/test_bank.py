import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon.scene.assets import Asset, BankError, WellSeen, coverage, extract_actors, insert_actor
from jaxrecon.scene.bank import load_bank, save_bank
from jaxrecon.scene.files import validate_scene
from jaxrecon.scene.gaussians import Gaussians, empty
from jaxrecon.scene.scene import Scene
from jaxrecon.storage import StorageError, read_folder, write_folder

CAR = np.array([4.0, 2.0, 1.5])
DEFAULT = WellSeen()
ALL = WellSeen(fewest=1, coverage=0.0, opacity=0.0)


def _scene(sizes: list, counts: list[int], degree: int = 1, spare: int = 4, seed: int = 0) -> Scene:
    """``counts`` Gaussians of the background and of each actor, interleaved, and spare slots between them."""
    random = np.random.default_rng(seed)
    group = random.permutation(np.concatenate([np.full(spare, -1), np.repeat(np.arange(len(counts)), counts)]))
    count = len(group)
    values = {
        "means": random.normal(size=(count, 3)),
        "quaternions": random.normal(size=(count, 4)),
        "log_scales": random.normal(size=(count, 3)),
        "opacity_logits": random.normal(size=count),
        "sh": random.normal(size=(count, (degree + 1) ** 2, 3)),
    }
    rest = empty(count, degree)
    used = group >= 0
    leaves = {
        name: jnp.where(used.reshape(-1, *[1] * (value.ndim - 1)), jnp.asarray(value, jnp.float32), getattr(rest, name))
        for name, value in values.items()
    }
    return Scene(
        gaussians=Gaussians(**leaves, valid=jnp.asarray(used)),
        group=jnp.asarray(np.maximum(group, 0), jnp.int32),
        sky=jnp.ones((2, 4, 3)),
        actor_sizes=jnp.asarray(np.reshape(sizes, (-1, 3)), jnp.float32),
    )


def _assert_same(first: Asset, second: Asset) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)  # names and categories too
    for before, after in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)


def _ring(count: int, low: float, high: float) -> np.ndarray:
    """Points on the unit square's outline, by azimuth in quarter turns from the middle of the front."""
    azimuth = np.linspace(low, high, count) * np.pi / 2
    direction = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    return direction / np.abs(direction).max(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.45, 0.45, [1, 0, 0, 0]),
        (0.55, 1.45, [0, 1, 0, 0]),
        (1.55, 2.45, [0, 0, 1, 0]),
        (-1.45, -0.55, [0, 0, 0, 1]),
        (0.55, 2.45, [0, 1, 1, 0]),
        (0.05, 0.45, [0.5, 0, 0, 0]),
        (1.55, 1.65, [0, 0, 0.25, 0]),
        (-2.0, 2.0, [1, 1, 1, 1]),
    ],
)
def test_coverage_is_the_share_of_each_side(low, high, expected):
    outline = _ring(200, low, high) * CAR[:2] / 2
    points = np.concatenate([outline, np.zeros((200, 1))], axis=1)
    np.testing.assert_array_equal(coverage(points, CAR), expected)


def test_only_points_near_the_surface_cover():
    outline = np.concatenate([_ring(200, -2, 2) * CAR[:2] / 2, np.zeros((200, 1))], axis=1)
    config = WellSeen(near=0.3)
    for shift, expected in ((0.25, 1.0), (-0.25, 1.0), (0.35, 0.0), (-0.35, 0.0)):
        points = outline * (CAR / 2 + shift) / (CAR / 2)  # every side moves by the shift
        assert coverage(points, CAR, config).mean() == expected
    for height, expected in ((1.0, 1.0), (-1.0, 1.0), (1.1, 0.0), (-1.1, 0.0)):  # half the height is 0.75
        assert coverage(outline + np.array([0, 0, height]), CAR, config).mean() == expected
    np.testing.assert_array_equal(coverage(np.zeros((0, 3)), CAR), np.zeros(4))
    np.testing.assert_array_equal(coverage(outline, np.zeros(3)), np.zeros(4))


def test_assets_hold_their_actors_exactly():
    scene = _scene([CAR, CAR + 1, CAR + 2], [10, 5, 0, 8])
    assets = extract_actors(scene, ALL)
    assert [asset.name for asset in assets] == ["actor-0", "actor-2"]  # nothing was seen of the second
    for asset, actor, count in zip(assets, (0, 2), (5, 8), strict=True):
        own = np.asarray(scene.gaussians.valid & (scene.group == actor + 1))
        assert asset.count == count
        assert asset.gaussians.capacity == 8  # the most of them: equal shapes
        np.testing.assert_array_equal(asset.gaussians.valid, np.arange(8) < count)
        for leaf in ("means", "quaternions", "log_scales", "opacity_logits", "sh"):
            np.testing.assert_array_equal(
                getattr(asset.gaussians, leaf)[:count], np.asarray(getattr(scene.gaussians, leaf))[own]
            )
        np.testing.assert_array_equal(asset.gaussians.quaternions[count:], np.tile([1, 0, 0, 0], (8 - count, 1)))
        np.testing.assert_array_equal(asset.size, CAR + actor)
    assert extract_actors(scene, ALL, capacity=20)[0].gaussians.capacity == 20
    assert extract_actors(_scene([], [7]), ALL) == []


def test_what_is_well_seen_is_kept():
    """A shell of opaque points around one actor, the rear half of it around the other."""
    count = 400
    shell = np.concatenate([_ring(count, -2, 2) * CAR[:2] / 2, np.zeros((count, 1))], axis=1)
    rear = np.concatenate([_ring(count, 1.55, 2.45) * CAR[:2] / 2, np.zeros((count, 1))], axis=1)
    gaussians = empty(2 * count).replace(
        means=jnp.asarray(np.concatenate([shell, rear]), jnp.float32),
        opacity_logits=jnp.full(2 * count, 2.0),
        valid=jnp.ones(2 * count, bool),
    )
    group = jnp.asarray(np.repeat([1, 2], count), jnp.int32)
    scene = Scene(gaussians, group, jnp.ones((2, 4, 3)), jnp.asarray([CAR, CAR], jnp.float32))

    def kept(scene: Scene = scene, config: WellSeen = DEFAULT, **more) -> list[str]:
        return [asset.name for asset in extract_actors(scene, config, **more)]

    assert kept() == ["actor-0"]
    assert kept(config=WellSeen(coverage=0.25)) == ["actor-0", "actor-1"]
    np.testing.assert_array_equal(extract_actors(scene)[0].coverage, np.ones(4))
    np.testing.assert_array_equal(extract_actors(scene, WellSeen(coverage=0.25))[1].coverage, [0, 0, 1, 0])
    assert kept(config=WellSeen(fewest=401)) == []
    faint = scene.replace(gaussians=gaussians.replace(opacity_logits=jnp.full(2 * count, -2.0)))
    assert kept(faint) == []  # sigmoid(-2) = 0.12
    assert kept(faint, WellSeen(opacity=0.1)) == ["actor-0"]
    views = np.full(2 * count, 5)
    assert kept(views=views) == ["actor-0"]
    views[150:400] = 1  # the front and one side are left: 150 Gaussians
    assert kept(views=views) == []
    assert kept(config=WellSeen(fewest=150, coverage=0.3), views=views) == ["actor-0"]
    assert kept(config=WellSeen(views=1), views=views) == ["actor-0"]
    assert kept(config=WellSeen(coverage=0.25), names=["a", "b"], categories=["pedestrian", "vehicle"]) == ["b"]


@settings(max_examples=10, deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=4), spare=st.integers(0, 6), degree=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_what_is_inserted_is_extracted_again(counts, spare, degree, seed):
    source = _scene([CAR] * len(counts), [3, *counts], degree, seed=seed)
    target = _scene([CAR - 0.5], [6, 4], degree, spare=spare, seed=seed + 1)
    assets = extract_actors(source, ALL, names=[f"car {i}" for i in range(len(counts))])
    capacity, actors = 10 + max(spare, sum(counts)), 1 + len(counts)
    scene = target
    for number, asset in enumerate(assets):
        scene, index = insert_actor(scene, asset, capacity=capacity, actors=actors)
        assert index == number + 1
    validate_scene(scene)
    names = ["old", *[asset.name for asset in assets]]
    again = extract_actors(scene, ALL, names=names, capacity=max(max(counts), 4))
    for before, after in zip(extract_actors(source, ALL, names=names[1:], capacity=max(max(counts), 4)), again[1:],
                             strict=True):  # fmt: skip
        _assert_same(before, after)
    _assert_same(again[0], extract_actors(target, ALL, names=["old"], capacity=max(max(counts), 4))[0])
    old = np.asarray(target.gaussians.valid)
    for before, after in zip(jax.tree.leaves(target.gaussians), jax.tree.leaves(scene.gaussians), strict=True):
        np.testing.assert_array_equal(np.asarray(before)[old], np.asarray(after)[: len(old)][old])
    np.testing.assert_array_equal(target.sky, scene.sky)


def test_shapes_stay_where_there_is_room():
    asset = extract_actors(_scene([CAR], [0, 5]), ALL)[0]
    target = _scene([CAR, np.zeros(3)], [6, 4, 0], spare=5)
    scene, index = insert_actor(target, asset)
    assert index == 1
    assert [x.shape for x in jax.tree.leaves(scene)] == [x.shape for x in jax.tree.leaves(target)]
    assert scene.gaussians.valid.all()
    np.testing.assert_array_equal(scene.actor_sizes, [CAR, CAR])
    assert not target.gaussians.valid.all()  # the old scene is as it was
    with pytest.raises(BankError, match=r"all 2 actors are taken; pass actors=3 or more"):
        insert_actor(scene, asset)
    with pytest.raises(BankError, match=r"actor-0 needs 5 slots, 0 of 15 are free; pass capacity=20 or more"):
        insert_actor(scene, asset, actors=3)
    with pytest.raises(BankError, match=r"needs 5 slots, 3 of 18 are free; pass capacity=20 or more"):
        insert_actor(scene, asset, capacity=18, actors=3)
    assert insert_actor(scene, asset, capacity=20, actors=3)[1] == 2
    for more, message in (
        ({"capacity": 14}, "capacity is 14, expected at least the 15"),
        ({"actors": 1}, "actors is 1, expected at least the 2"),
    ):
        with pytest.raises(BankError, match=message):
            insert_actor(scene, asset, **more)


def test_an_unseen_actor_is_not_overwritten():
    asset = extract_actors(_scene([CAR], [0, 5]), ALL)[0]
    scene, index = insert_actor(_scene([CAR], [6, 0], spare=5), asset, actors=2)
    assert index == 1
    np.testing.assert_array_equal(scene.actor_sizes[0], CAR)


def test_harmonics_are_filled_up_but_never_dropped():
    asset = extract_actors(_scene([CAR], [0, 5], degree=1), ALL)[0]
    scene, _ = insert_actor(_scene([], [3], degree=2, spare=5), asset, actors=1)
    own = np.asarray(scene.group == 1)
    np.testing.assert_array_equal(scene.gaussians.sh[own][:, :4], asset.gaussians.sh)
    np.testing.assert_array_equal(scene.gaussians.sh[own][:, 4:], 0.0)
    with pytest.raises(BankError, match="actor-0 has 4 harmonics, the scene 1"):
        insert_actor(_scene([], [3], degree=0, spare=5), asset, actors=1)


def test_a_bank_loads_exactly_as_it_was_saved(tmp_path):
    assets = extract_actors(_scene([CAR, CAR + 1], [3, 5, 8]), ALL, names=["red", "blue"])
    assets += extract_actors(_scene([CAR], [3, 4], degree=3), ALL, names=["green"])
    content = save_bank(assets, tmp_path / "bank", {"log": "street", "licence": "own"})
    loaded, metadata = load_bank(tmp_path / "bank")
    assert metadata == {"log": "street", "licence": "own"}
    assert [asset.name for asset in loaded] == ["red", "blue", "green"]
    for before, after in zip(assets, loaded, strict=True):
        _assert_same(before, after)
    assert save_bank(assets, tmp_path / "again", metadata) == content
    with pytest.raises(StorageError, match="overwrite=True"):
        save_bank(assets[:1], tmp_path / "bank")
    save_bank(assets[:1], tmp_path / "bank", overwrite=True)
    assert len(load_bank(tmp_path / "bank")[0]) == 1


def test_a_flipped_byte_and_another_kind_of_folder_are_found(tmp_path):
    save_bank(extract_actors(_scene([CAR], [3, 5]), ALL), tmp_path / "bank")
    file = tmp_path / "bank" / "0000.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    file.write_bytes(bytes(data))
    with pytest.raises(StorageError, match=r"0000\.npz"):
        load_bank(tmp_path / "bank")
    write_folder(tmp_path / "other", lambda f: (f / "a").write_text("a"), kind="log", version=1, metadata={})  # type: ignore
    with pytest.raises(StorageError, match="kind 'actor-bank'"):
        load_bank(tmp_path / "other")


def test_a_file_that_lacks_an_array_is_named(tmp_path):
    save_bank(extract_actors(_scene([CAR], [3, 5]), ALL), tmp_path / "bank")
    metadata = read_folder(tmp_path / "bank", kind="actor-bank", version=1).metadata

    def write(folder) -> None:
        with np.load(tmp_path / "bank" / "0000.npz") as archive:
            np.savez(folder / "0000.npz", **{name: archive[name] for name in archive.files if name != "sh"})

    write_folder(tmp_path / "poor", write, kind="actor-bank", version=1, metadata=metadata)
    with pytest.raises(BankError, match=r"0000\.npz: lacks \['sh'\]; save the bank again"):
        load_bank(tmp_path / "poor")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda a: a.replace(size=jnp.ones(2)), r"asset 1: size of shape \(2,\) and coverage of shape \(4,\)"),
        (lambda a: a.replace(size=a.size.at[1].set(jnp.nan)), r"asset 1: actor_sizes\[0, 1\] is nan"),
        (
            lambda a: a.replace(gaussians=a.gaussians.replace(means=a.gaussians.means.at[0, 2].set(jnp.inf))),
            r"asset 1: means\[0, 2\] is inf, expected a finite number; extract the actor again",
        ),
        (
            lambda a: a.replace(gaussians=a.gaussians.replace(valid=jnp.ones(3, bool))),
            r"asset 1: valid has shape \(3,\), expected \(5,\)",
        ),
    ],
)  # fmt: skip
def test_an_unsound_asset_is_refused_and_leaves_nothing(tmp_path, broken, message):
    asset = extract_actors(_scene([CAR], [3, 5]), ALL)[0]
    with pytest.raises(BankError, match=message):
        save_bank([asset, broken(asset)], tmp_path / "bank")
    assert not list(tmp_path.iterdir())
    with pytest.raises(BankError, match="no asset to write; lower what WellSeen asks"):
        save_bank([], tmp_path / "bank")


def test_faults_of_an_extraction_are_named():
    scene = _scene([CAR, CAR], [3, 5, 6], spare=0)
    for more, message in (
        ({"views": np.zeros(3, int)}, "views has 3 entries, expected 14"),
        ({"names": ["a"]}, "names has 1 entries, expected 2"),
        ({"categories": ["vehicle"] * 3}, "categories has 3 entries, expected 2"),
        ({"capacity": 5}, "actor 1 has 6 Gaussians, capacity is 5; pass capacity=6 or more"),
    ):
        with pytest.raises(BankError, match=message):
            extract_actors(scene, ALL, **more)
    for fields, message in (
        ({"fewest": 0}, "fewest is 0, expected at least 1"),
        ({"sectors": 0}, "sectors is 0, expected at least 1"),
        ({"opacity": 1.5}, "opacity is 1.5, expected a share"),
        ({"coverage": -0.1}, "coverage is -0.1, expected a share"),
        ({"near": 0.0}, "near is 0.0, expected more than 0 metres"),
    ):
        with pytest.raises(ValueError, match=message):
            WellSeen(**fields)
