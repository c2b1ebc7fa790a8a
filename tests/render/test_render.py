"""Drawing a scene graph: posed actors, the sky behind, quantised frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dot_precision import rounded_products

from jaxrecon.geometry.transforms import quaternion_to_matrix, rigid, transform_points
from jaxrecon.render import Cameras, RenderConfig, quantise, render
from jaxrecon.scene.gaussians import Gaussians, concatenate, empty
from jaxrecon.scene.scene import Scene, sky_colour

FORWARD = jnp.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # camera looking along world x


def gaussians(seed: int, count: int, centre: tuple[float, float, float], spread: float) -> Gaussians:
    k = jax.random.split(jax.random.key(seed), 4)
    return Gaussians(
        means=jnp.array(centre) + spread * jax.random.normal(k[0], (count, 3)),
        quaternions=jax.random.normal(k[1], (count, 4)),
        log_scales=jnp.log(0.3) + 0.3 * jax.random.normal(k[2], (count, 3)),
        opacity_logits=jnp.full((count,), 1.0),
        sh=jax.random.normal(k[3], (count, 1, 3)),
        valid=jnp.ones((count,), bool),
    )


@pytest.fixture(scope="module")
def scene() -> Scene:
    background, car = gaussians(0, 60, (12.0, 0.0, 1.0), 2.0), gaussians(1, 20, (0.0, 0.0, 0.0), 0.5)
    return Scene(
        gaussians=concatenate([background, car, empty(4)]),
        group=jnp.array([0] * 60 + [1] * 20 + [0] * 4),
        sky=jnp.linspace(0, 1, 8 * 16 * 3).reshape(8, 16, 3),
        actor_sizes=jnp.array([[4.0, 2.0, 1.5]]),
    )


@pytest.fixture(scope="module")
def cameras() -> Cameras:
    poses = rigid(jnp.tile(FORWARD, (2, 1, 1)), jnp.array([[0.0, 0.0, 1.5], [1.0, 0.5, 1.2]]))
    return Cameras(poses, jnp.tile(jnp.array([20.0, 20.0, 16.0, 12.0]), (2, 1)), width=32, height=24)


@pytest.fixture(scope="module")
def pose() -> jax.Array:
    rotation = quaternion_to_matrix(jnp.array([[0.9, 0.1, -0.2, 0.4], [0.8, 0.0, 0.0, -0.6]]))
    return rigid(rotation, jnp.array([[7.0, 1.0, 0.8], [9.0, -1.0, 0.9]]))[:, None]


draw = jax.jit(render)


def test_a_posed_actor_is_the_same_as_its_gaussians_placed_in_the_world(scene, cameras, pose):
    drawn = draw(scene, cameras, pose)
    for camera in range(2):
        car = jax.tree.map(lambda leaf: leaf[60:80], scene.gaussians)
        means = transform_points(pose[camera, 0], car.means)
        placed = scene.gaussians.means.at[60:80].set(means)
        # Composing rotations as quaternions: pose first from the left.
        w, x, y, z = _quaternion(camera)
        left = jnp.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
        turned = scene.gaussians.quaternions.at[60:80].set(car.quaternions @ left.T)
        baked = scene.replace(
            gaussians=scene.gaussians.replace(means=placed, quaternions=turned), group=jnp.zeros_like(scene.group)
        )
        expected = draw(baked, cameras)
        np.testing.assert_allclose(drawn.rgb[camera], expected.rgb[camera], atol=2e-4)
        np.testing.assert_allclose(drawn.alpha[camera], expected.alpha[camera], atol=2e-4)


def _quaternion(camera: int) -> np.ndarray:
    q = np.array([[0.9, 0.1, -0.2, 0.4], [0.8, 0.0, 0.0, -0.6]])[camera]
    return q / np.linalg.norm(q)


def test_an_actor_is_drawn_only_where_it_is_valid(scene, cameras, pose):
    absent, without = draw(scene, cameras, pose, jnp.array([[True], [False]])), draw(scene, cameras)
    assert np.abs(absent.rgb[0] - without.rgb[0]).max() > 0.05
    np.testing.assert_allclose(absent.rgb[1], without.rgb[1], atol=1e-6)  # two programs, rounded differently


def test_nothing_but_sky_shows_the_sky_along_each_pixels_ray(cameras):
    sky = jax.random.uniform(jax.random.key(0), (8, 16, 3))
    nothing = Scene(empty(4), jnp.zeros(4, jnp.int32), sky, jnp.zeros((0, 3)))
    drawn = draw(nothing, cameras)
    u, v = 20.5, 3.5
    direction = FORWARD @ jnp.array([(u - 16) / 20, (v - 12) / 20, 1.0])
    np.testing.assert_allclose(drawn.rgb[0, 3, 20], sky_colour(sky, direction), atol=1e-5)
    assert np.all(np.asarray(drawn.alpha) == 0)


def test_gradients_reach_actor_and_camera_poses_and_stay_finite(scene, cameras, pose):
    def loss(pose, world_from_camera):
        return jnp.sum(render(scene, cameras.replace(world_from_camera=world_from_camera), pose).rgb ** 2)

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(pose, cameras.world_from_camera)
    for gradient in gradients:
        assert np.all(np.isfinite(gradient)) and np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("backend", ["reference", "xla"])
def test_no_accelerator_rounds_poses_or_rays(scene, cameras, pose, backend):
    def loss(scene, world_from_camera, pose):
        posed = cameras.replace(world_from_camera=world_from_camera)
        return jnp.sum(render(scene, posed, pose, config=RenderConfig(backend)).rgb)

    gaussians = scene.gaussians.replace(sh=jnp.tile(scene.gaussians.sh, (1, 4, 1)))
    coloured = scene.replace(gaussians=gaussians)
    for program in (loss, jax.grad(loss, argnums=(1, 2))):
        assert rounded_products(program, coloured, cameras.world_from_camera, pose) == []


def test_a_missing_actor_pose_is_named(scene, cameras):
    with pytest.raises(ValueError, match="poses 2 actors but the scene has 1"):
        render(scene, cameras, jnp.tile(jnp.eye(4), (2, 2, 1, 1)))


def test_quantise_rounds_and_clips():
    np.testing.assert_array_equal(quantise(jnp.array([[-0.5, 0.5, 1.5]])), [[0, 128, 255]])
