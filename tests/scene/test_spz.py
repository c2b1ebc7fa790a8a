import gzip
import itertools
import math
import struct
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon.geometry.transforms import quaternion_to_matrix, rigid
from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.harmonics import basis
from jaxrecon.scene.ply import read_ply, write_ply
from jaxrecon.scene.scene import Scene
from jaxrecon.scene.spz import SpzConfig, SpzError, read_spz, write_spz

MAGIC = 0x5053474E
ALL_AXES = list(itertools.product((1, -1), repeat=3))


def _world(gaussians: Gaussians) -> Scene:
    """Everything static."""
    return Scene(gaussians, jnp.zeros(gaussians.capacity, jnp.int32), jnp.ones((2, 2, 3)), jnp.zeros((0, 3)))


def _set(**fields: np.ndarray | list) -> Gaussians:
    leaves = {name: jnp.asarray(value, jnp.float32) for name, value in fields.items()}
    return Gaussians(**leaves, valid=jnp.ones(len(leaves["means"]), bool))


def _random(degree: int, count: int, seed: int = 0) -> Gaussians:
    """Values that the format has room for."""
    random = np.random.default_rng(seed)
    sh = random.uniform(-0.9, 0.9, size=(count, (degree + 1) ** 2, 3))
    sh[:, 0] = random.uniform(-3, 3, size=(count, 3))
    return _set(
        means=random.uniform(-1500, 1500, size=(count, 3)),
        quaternions=random.normal(size=(count, 4)),
        log_scales=random.uniform(-9.9, 5.9, size=(count, 3)),
        opacity_logits=random.normal(size=count) * 4,
        sh=sh,
    )


def _pack(version: int, count: int, degree: int, *blocks: list[int], bits: int = 12, flags: int = 0) -> bytes:
    header = struct.pack("<IIIBBBB", MAGIC, version, count, degree, bits, flags, 0)
    return gzip.compress(
        header + b"".join(bytes(block) for block in blocks), mtime=0
    )  # or ids of tests would tell the time


def _unit(quaternions: np.ndarray) -> np.ndarray:
    quaternions = np.asarray(quaternions, np.float64)
    return quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)


# Two Gaussians, their bytes by hand; y and z are flipped on the way into the file.
BY_HAND = _set(
    means=[[1.5, -2.25, 0.0625], [0.0, 0.0, 300.0]],
    quaternions=[[1, 0, 0, 0], [-1, 1, 1, 1]],
    log_scales=[[-10, 0, -2.5], [1, 2, 3]],
    opacity_logits=[0, math.log(51 / 204)],
    sh=[
        [[0, 1, -1], [0.5, 0, -0.25], [0.25, 0.75, 0], [0.25, -0.5, 0]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 0], [0.96, -0.98, 0.02]],
    ],
)
POSITIONS = [
    *(0x00, 0x18, 0x00, 0x00, 0x24, 0x00, 0x00, 0xFF, 0xFF),  # 6144, 9216, -256, little-endian
    *(0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0xED),  # -1228800
]
ALPHAS = [128, 51]  # 127.5 rounds up
COLOURS = [128, 166, 89, 128, 128, 128]
SCALES = [0, 160, 120, 176, 192, 208]
HARMONICS = [
    *(64, 128, 160, 96, 32, 128, 160, 64, 128),  # -y, -z, x of three channels each
    *(128, 128, 128, 128, 128, 128, 248, 0, 128),  # 250.88 to the nearest multiple of eight, 2.56 likewise
]
FIRST_THREE = [128, 128, 128, 64, 191, 191]  # (0.5, -0.5, -0.5, -0.5) with w made positive
# Largest is w, the others zero; then x is the first of four equal ones, and y, z, w are -0.5: round(511 sqrt(2) / 2).
SMALLEST_THREE = list(struct.pack("<II", 3 << 30, sum((512 + 361) << shift for shift in (0, 10, 20))))


@pytest.mark.parametrize(("version", "rotations"), [(2, FIRST_THREE), (3, SMALLEST_THREE)])
def test_bytes_are_those_computed_by_hand(tmp_path, version, rotations):
    assert write_spz(_world(BY_HAND), tmp_path / "a.spz", config=SpzConfig(version=version)) == 2
    expected = _pack(version, 2, 1, POSITIONS, ALPHAS, COLOURS, SCALES, rotations, HARMONICS)
    assert gzip.decompress((tmp_path / "a.spz").read_bytes()) == gzip.decompress(expected)
    (tmp_path / "b.spz").write_bytes(expected)
    read = read_spz(tmp_path / "b.spz")
    np.testing.assert_array_equal(read.means, BY_HAND.means)
    np.testing.assert_array_equal(read.log_scales, BY_HAND.log_scales)
    np.testing.assert_allclose(read.opacities, [128 / 255, 51 / 255], atol=1e-6)
    np.testing.assert_allclose(read.sh[0, 0], [0.5 / 38.25, 38.5 / 38.25, -38.5 / 38.25], atol=1e-6)
    np.testing.assert_array_equal(read.sh[0, 1:], BY_HAND.sh[0, 1:])
    np.testing.assert_array_equal(read.sh[1, 3], [0.9375, -1.0, 0.0])
    rounding = {2: 0.5 / 127.5, 3: 0.5 / (511 * math.sqrt(2))}[version]
    np.testing.assert_allclose(read.quaternions[0], [1, 0, 0, 0], atol=1.01 * rounding)
    # Of three equal errors the remaining component has at most the sum.
    turned = np.asarray(read.quaternions[1]) * np.sign(read.quaternions[1, 0])
    np.testing.assert_allclose(turned, [0.5, -0.5, -0.5, -0.5], atol=3.1 * rounding)
    assert read.valid.all()


def test_version_one_holds_half_precision_positions(tmp_path):
    positions = list(struct.pack("<6e", 1.5, 2.25, -0.0625, 0.0, 0.0, -300.0))
    data = _pack(1, 2, 1, positions, ALPHAS, COLOURS, SCALES, FIRST_THREE, HARMONICS)
    (tmp_path / "a.spz").write_bytes(data)
    np.testing.assert_array_equal(read_spz(tmp_path / "a.spz").means, BY_HAND.means)
    broken = list(struct.pack("<6e", 1.5, 2.25, math.inf, 0.0, 0.0, -300.0))
    (tmp_path / "b.spz").write_bytes(_pack(1, 2, 1, broken, ALPHAS, COLOURS, SCALES, FIRST_THREE, HARMONICS))
    with pytest.raises(SpzError, match=r"b\.spz: means of Gaussian 0 is -inf, expected a finite number"):
        read_spz(tmp_path / "b.spz")


@settings(max_examples=40, deadline=None)
@given(
    degree=st.integers(0, 3), count=st.integers(1, 60), version=st.sampled_from([2, 3]), seed=st.integers(0, 2**32 - 1),
    axes=st.sampled_from(ALL_AXES), bits=st.tuples(st.integers(1, 8), st.integers(1, 8)),
)  # fmt: skip
def test_every_field_survives_within_its_step(tmp_path_factory, degree, count, version, seed, axes, bits):
    gaussians = _random(degree, count, seed)
    file = tmp_path_factory.mktemp("spz") / "a.spz"
    config = SpzConfig(version, *bits, axes)
    assert write_spz(_world(gaussians), file, config=config) == count
    read = read_spz(file, axes)
    slack = 1.001  # float32 between the steps
    np.testing.assert_allclose(read.means, gaussians.means, rtol=1e-7, atol=slack * 0.5 / 4096)
    np.testing.assert_allclose(read.log_scales, gaussians.log_scales, rtol=0, atol=slack * 0.5 / 16)
    np.testing.assert_allclose(read.opacities, gaussians.opacities, rtol=0, atol=slack * 0.5 / 255)
    np.testing.assert_allclose(read.sh[:, 0], gaussians.sh[:, 0], rtol=0, atol=slack * 0.5 / 38.25)
    for band, precision in ((slice(1, 4), bits[0]), (slice(4, None), bits[1])):
        # To a 128th first, then to the nearest multiple of the step.
        most = slack * (0.5 / 128 + 0.5 * 2.0 ** (1 - precision))
        np.testing.assert_allclose(read.sh[:, band], gaussians.sh[:, band], rtol=0, atol=most)
    before, after = _unit(gaussians.quaternions), np.asarray(read.quaternions, np.float64)
    after *= np.sign(np.sum(before * after, axis=1, keepdims=True))
    if version == 2:
        np.testing.assert_allclose(after[:, 1:], before[:, 1:], rtol=0, atol=slack * 0.5 / 127.5)
    else:
        turn = 2 * np.arccos(np.minimum(1, np.sum(before * _unit(after), axis=1)))
        assert np.degrees(turn.max()) < 0.25


@pytest.mark.parametrize("axes", ALL_AXES)
def test_flipped_axes_show_the_same_colours_and_shapes_from_the_flipped_side(tmp_path, axes):
    random = np.random.default_rng(1)
    gaussians = _random(3, 20)
    sh = random.integers(-100, 100, size=(20, 16, 3)) / 128  # what eight bits hold exactly
    sh[:, 0] = (random.integers(0, 256, size=(20, 3)) / 255 - 0.5) / 0.15
    gaussians = gaussians.replace(sh=jnp.asarray(sh, jnp.float32), log_scales=jnp.round(gaussians.log_scales / 4))
    write_spz(_world(gaussians), tmp_path / "a.spz", config=SpzConfig(3, 8, 8, axes))
    stored = read_spz(tmp_path / "a.spz", axes=(1, 1, 1))
    directions = random.normal(size=(30, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before = np.einsum("dk,nkc->ndc", basis(directions, 3), sh)
    after = np.einsum("dk,nkc->ndc", basis(directions * axes, 3), np.asarray(stored.sh))
    np.testing.assert_allclose(after, before, atol=2e-6)  # float32
    np.testing.assert_allclose(stored.means, np.asarray(gaussians.means) * axes, rtol=1e-7, atol=0.5 / 4096)
    mirrored = np.diag(axes) @ np.asarray(gaussians.covariances) @ np.diag(axes)
    difference = np.linalg.norm(stored.covariances - mirrored, axis=(1, 2)) / np.linalg.norm(mirrored, axis=(1, 2))
    assert difference.max() < 0.01  # rotations are kept to 0.25 degrees = 0.0044


@pytest.mark.parametrize(("far", "bits"), [(2047.0, 12), (2048.0, 11), (5000.0, 10), (8e6, 0)])
def test_far_positions_are_kept_as_well_as_there_is_room(tmp_path, far, bits):
    gaussians = _random(0, 5)
    gaussians = gaussians.replace(means=gaussians.means.at[2].set(jnp.array([far, -far, 0.3])))
    write_spz(_world(gaussians), tmp_path / "a.spz")
    assert gzip.decompress((tmp_path / "a.spz").read_bytes())[13] == bits
    np.testing.assert_allclose(read_spz(tmp_path / "a.spz").means, gaussians.means, atol=0.5001 / 2**bits)


def test_what_lies_beyond_a_range_becomes_its_end(tmp_path):
    gaussians = _set(
        means=np.zeros((2, 3)),
        quaternions=[[1, 0, 0, 0], [0, 0, 0, 5]],
        log_scales=[[-30] * 3, [30] * 3],
        opacity_logits=[-100, 100],
        sh=np.array([-1e30, 1e30])[:, None, None] * np.ones((2, 4, 3)),
    )
    write_spz(_world(gaussians), tmp_path / "a.spz")
    read = read_spz(tmp_path / "a.spz", axes=(1, 1, 1))
    np.testing.assert_array_equal(read.log_scales, [[-10] * 3, [5.9375] * 3])
    np.testing.assert_allclose(read.opacities, [0.25 / 255, 254.75 / 255], atol=1e-6)  # finite logits
    np.testing.assert_allclose(np.abs(read.sh[:, 0]), 127.5 / 38.25, rtol=1e-6)
    assert np.all(np.abs(read.sh[:, 1:]) >= 127 / 128)
    np.testing.assert_allclose(np.abs(_unit(read.quaternions)[1]), [0, 0, 0, 1], atol=1e-6)


def test_actors_are_posed_as_in_a_ply(tmp_path):
    gaussians = _random(2, 30)
    scene = _world(gaussians).replace(
        group=(jnp.arange(30) % 3).astype(jnp.int32),
        actor_sizes=jnp.ones((2, 3)),
        gaussians=gaussians.replace(valid=jnp.arange(30) < 28),
    )
    pose = rigid(quaternion_to_matrix(np.array([0.9, 0.1, -0.2, 0.3])), np.array([5.0, -2.0, 1.0]))
    poses, present = np.stack([pose, np.eye(4)]), np.array([True, False])
    assert write_spz(scene, tmp_path / "static.spz") == 10
    assert write_spz(scene, tmp_path / "a.spz", poses, present) == write_ply(scene, tmp_path / "a.ply", poses, present)
    read, exact = read_spz(tmp_path / "a.spz"), read_ply(tmp_path / "a.ply")
    np.testing.assert_allclose(read.means, exact.means, atol=0.6 / 4096)
    np.testing.assert_allclose(read.opacities, exact.opacities, atol=0.51 / 255)


def test_an_existing_file_is_kept(tmp_path):
    (tmp_path / "a.spz").write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_spz(_world(BY_HAND), tmp_path / "a.spz")
    assert (tmp_path / "a.spz").read_text() == "mine"
    write_spz(_world(BY_HAND), tmp_path / "a.spz", overwrite=True)
    first = (tmp_path / "a.spz").read_bytes()
    write_spz(_world(BY_HAND), tmp_path / "a.spz", overwrite=True)
    assert (tmp_path / "a.spz").read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["a.spz"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_named(tmp_path, share):
    path = tmp_path / "a.spz"
    write_spz(_world(_random(3, 300)), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(SpzError, match=r"a\.spz: (ends (within|after)|begins with b'')"):
        read_spz(path)


def test_a_flipped_byte_is_found(tmp_path):
    path = tmp_path / "a.spz"
    write_spz(_world(_random(1, 300)), path)
    whole = bytearray(path.read_bytes())
    whole[-6] ^= 1  # of the checksum
    path.write_bytes(bytes(whole))
    with pytest.raises(SpzError, match=r"a\.spz: damaged .*copy or export it again"):
        read_spz(path)


BLOCKS = (POSITIONS, ALPHAS, COLOURS, SCALES, FIRST_THREE, HARMONICS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ply\nformat", r"begins with b'ply\\n', expected gzip .*is this an SPZ file\?"),
        (struct.pack("<III", MAGIC, 4, 10), r"SPZ version 4, expected 1 to 3 \(gzip\); save it as version 3"),
        (gzip.compress(b"x" * 64, mtime=0), r"magic number 0x78787878, expected 0x5053474e"),
        (_pack(7, 2, 1, *BLOCKS), "SPZ version 7, expected 1 to 3"),
        (_pack(0, 2, 1, *BLOCKS), "SPZ version 0, expected 1 to 3"),
        (_pack(2, 2, 4, *BLOCKS), "harmonics of degree 4, expected 0 to 3; save it with degree 3"),
        (_pack(2, 2, 1, *BLOCKS, bits=40), "40 fractional bits in numbers of 24"),
        (_pack(2, 0, 1, *BLOCKS), "counts 0 Gaussians, expected 1 to what"),
        (_pack(2, 2**32 - 1, 1, *BLOCKS), r"counts 4294967295 Gaussians, expected 1 to what \d+ bytes can hold"),
        (_pack(2, 3, 1, *BLOCKS), r"ends after 56 bytes of 84; copy or export it again"),
        (_pack(2, 1, 1, *BLOCKS), r"holds more than the 28 bytes of the 1 Gaussians"),
        (_pack(2, 2, 1, *BLOCKS, [3, 0, 0xBE, 0xAD, 4, 0, 0, 0, 6, 0, 0, 0], flags=2), "stored in coordinate system 6"),
    ],
)  # fmt: skip
def test_faults_are_named(tmp_path, data, message):
    (tmp_path / "a.spz").write_bytes(data)
    with pytest.raises(SpzError, match=rf"a\.spz: .*{message}"):
        read_spz(tmp_path / "a.spz")


def test_other_extensions_and_flags_are_passed_over(tmp_path):
    records = [*struct.pack("<IIfff", 0xADBE0002, 12, 0, 1, 2), *struct.pack("<III", 0xADBE0003, 4, 4), 1, 2, 3]
    (tmp_path / "a.spz").write_bytes(_pack(2, 2, 1, *BLOCKS, records, flags=3))
    np.testing.assert_array_equal(read_spz(tmp_path / "a.spz").means, BY_HAND.means)


def test_a_small_file_that_inflates_without_end_is_not_inflated(tmp_path):
    (tmp_path / "a.spz").write_bytes(_pack(2, 2, 1, *BLOCKS, [0] * 50_000_000))
    tracemalloc.start()
    with pytest.raises(SpzError, match="holds more than the 56 bytes"):
        read_spz(tmp_path / "a.spz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("gaussians", "message"),
    [
        (BY_HAND.replace(valid=jnp.zeros(2, bool)), "no Gaussian to write .*pass poses to write actors"),
        (BY_HAND.replace(means=BY_HAND.means.at[1, 0].set(jnp.nan)), "means of Gaussian 1 is nan, expected a finite"),
        (BY_HAND.replace(sh=BY_HAND.sh.at[0, 2, 1].set(jnp.inf)), "sh of Gaussian 0 is inf, expected a finite number"),
        (BY_HAND.replace(quaternions=BY_HAND.quaternions.at[1].set(0)), "quaternions of Gaussian 1 is zero"),
        (BY_HAND.replace(means=BY_HAND.means.at[1, 0].set(-1e7)), "lies 1e.07 m out, expected less than 8388608 m"),
    ],
)
def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path, gaussians, message):
    with pytest.raises(SpzError, match=rf"a\.spz: .*{message}"):
        write_spz(_world(gaussians), tmp_path / "a.spz")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_and_a_wrong_configuration_are_named(tmp_path):
    with pytest.raises(SpzError, match=r"absent\.spz: cannot be read .*check the path"):
        read_spz(tmp_path / "absent.spz")
    for fields, message in (
        ({"version": 4}, "version is 4, expected 2 or 3"),
        ({"degree_one_bits": 0}, "degree_one_bits is 0, expected 1 to 8"),
        ({"higher_bits": 9}, "higher_bits is 9, expected 1 to 8"),
        ({"axes": (1, 0, 1)}, r"axes is \(1, 0, 1\), expected three signs"),
    ):
        with pytest.raises(ValueError, match=message):
            SpzConfig(**fields)
    with pytest.raises(ValueError, match="expected three signs"):
        read_spz(tmp_path / "absent.spz", axes=(1, 2, 1))
