import jax
import jax.numpy as jnp
import numpy as np
import plyfile
import pytest

from jaxrecon.geometry.transforms import quaternion_to_matrix, rigid
from jaxrecon.scene.gaussians import Gaussians, empty
from jaxrecon.scene.harmonics import basis, rotate
from jaxrecon.scene.ply import PlyError, read_ply, write_ply
from jaxrecon.scene.scene import Scene


def _scene(degree: int = 2, count: int = 12) -> Scene:
    """Slots alternate between the static world, actor 0 and actor 1; the last slot is unused."""
    keys = jax.random.split(jax.random.key(0), 5)
    gaussians = Gaussians(
        means=jax.random.normal(keys[0], (count, 3)),
        quaternions=jax.random.normal(keys[1], (count, 4)),
        log_scales=jax.random.normal(keys[2], (count, 3)),
        opacity_logits=jax.random.normal(keys[3], (count,)),
        sh=jax.random.normal(keys[4], (count, (degree + 1) ** 2, 3)),
        valid=jnp.arange(count) < count - 1,
    )
    return Scene(gaussians, jnp.arange(count) % 3, jnp.ones((4, 8, 3)), jnp.ones((2, 3)))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_static_background_survives_exactly(tmp_path, degree):
    scene = _scene(degree)
    assert write_ply(scene, tmp_path / "scene.ply") == 4
    read = read_ply(tmp_path / "scene.ply")
    static = np.asarray(scene.gaussians.valid & (scene.group == 0))
    for name in ("means", "quaternions", "log_scales", "opacity_logits", "sh"):
        np.testing.assert_array_equal(getattr(read, name), np.asarray(getattr(scene.gaussians, name))[static])
    assert read.valid.all()


def test_properties_follow_the_3dgs_convention(tmp_path):
    scene = _scene(degree=1)
    write_ply(scene, tmp_path / "scene.ply")
    vertex = plyfile.PlyData.read(tmp_path / "scene.ply")["vertex"].data
    rest = [f"f_rest_{i}" for i in range(9)]
    expected = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, "opacity"]
    assert list(vertex.dtype.names) == [*expected, *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    sh = np.asarray(scene.gaussians.sh)[0]
    assert vertex["f_rest_0"][0] == sh[1, 0]
    assert vertex["f_rest_1"][0] == sh[2, 0]
    assert vertex["f_rest_3"][0] == sh[1, 1]  # channel-major: green starts after all of red


def test_actors_are_posed(tmp_path):
    scene = _scene()
    turn = quaternion_to_matrix(np.array([0.9, 0.1, -0.2, 0.3]))
    poses = np.stack([rigid(turn, np.array([5.0, -2.0, 1.0])), np.eye(4)])
    count = write_ply(scene, tmp_path / "scene.ply", poses, np.array([True, False]))
    assert count == 8
    read = read_ply(tmp_path / "scene.ply")
    own = np.asarray(scene.gaussians.valid & (scene.group == 1))
    means = np.asarray(scene.gaussians.means)[own] @ turn.T + poses[0, :3, 3]
    np.testing.assert_allclose(read.means[4:], means, atol=1e-5)  # float32 of metres
    covariances = turn @ np.asarray(scene.gaussians.covariances)[own] @ turn.T
    np.testing.assert_allclose(read.covariances[4:], covariances, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_rotated_harmonics_give_the_same_colour_in_the_rotated_direction(degree):
    random = np.random.default_rng(0)
    sh = random.normal(size=(5, (degree + 1) ** 2, 3))
    turn = quaternion_to_matrix(random.normal(size=4))
    directions = random.normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before = np.einsum("dk,nkc->ndc", basis(directions, degree), sh)
    after = np.einsum("dk,nkc->ndc", basis(directions @ turn.T, degree), rotate(sh, turn))
    np.testing.assert_allclose(after, before, atol=1e-10)


def test_harmonics_are_orthonormal():
    nodes, weights = np.polynomial.legendre.leggauss(8)
    azimuth = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    z, phi = (grid.reshape(-1) for grid in np.meshgrid(nodes, azimuth, indexing="ij"))
    r = np.sqrt(1 - z * z)
    values = basis(np.stack([r * np.cos(phi), r * np.sin(phi), z], axis=-1), 3)
    area = np.repeat(weights, 16) * 2 * np.pi / 16
    np.testing.assert_allclose(values.T @ (area[:, None] * values), np.eye(16), atol=1e-10)
    with pytest.raises(ValueError, match="degree 0 to 3 are supported; received 4"):
        basis(np.eye(3), 4)


def test_an_existing_file_is_kept(tmp_path):
    (tmp_path / "scene.ply").write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_ply(_scene(), tmp_path / "scene.ply")
    assert (tmp_path / "scene.ply").read_text() == "mine"
    write_ply(_scene(), tmp_path / "scene.ply", overwrite=True)
    assert read_ply(tmp_path / "scene.ply").capacity == 4
    assert [file.name for file in tmp_path.iterdir()] == ["scene.ply"]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_named(tmp_path, share):
    path = tmp_path / "scene.ply"
    write_ply(_scene(count=300), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(PlyError, match=r"scene\.ply: not a whole PLY file"):
        read_ply(path)


def test_faults_are_named(tmp_path):
    def write(name: str, element: str, columns: dict[str, list[float]]) -> str:
        data = np.array(list(zip(*columns.values(), strict=True)), dtype=[(key, "f4") for key in columns])
        plyfile.PlyData([plyfile.PlyElement.describe(data, element)]).write(str(tmp_path / name))
        return str(tmp_path / name)

    with pytest.raises(PlyError, match="there is no such file"):
        read_ply(tmp_path / "absent.ply")
    with pytest.raises(PlyError, match=r"expected an element 'vertex', found \['face'\]"):
        read_ply(write("a.ply", "face", {"x": [0.0]}))
    with pytest.raises(PlyError, match=r"lacks the properties .*f_dc_0"):
        read_ply(write("b.ply", "vertex", {"x": [0.0], "y": [0.0], "z": [0.0]}))
    with pytest.raises(PlyError, match="1 f_rest properties, expected one of"):
        read_ply(write("c.ply", "vertex", {"x": [0.0], "f_rest_0": [0.0]}))
    scene = _scene()
    broken = scene.replace(gaussians=scene.gaussians.replace(means=scene.gaussians.means.at[3, 1].set(jnp.nan)))
    write_ply(broken, tmp_path / "d.ply")
    with pytest.raises(PlyError, match="y of vertex 1 is nan, expected a finite number"):
        read_ply(tmp_path / "d.ply")


def test_an_actor_without_gaussians_is_no_obstacle(tmp_path):
    scene = Scene(
        gaussians=empty(3).replace(valid=jnp.ones(3, bool)),
        group=jnp.zeros(3, jnp.int32),
        sky=jnp.zeros((2, 2, 3)),
        actor_sizes=jnp.ones((1, 3)),
    )
    pose = jnp.eye(4).at[0, 3].set(2.0)[None]
    assert write_ply(scene, tmp_path / "scene.ply", pose, jnp.array([True])) == 3
