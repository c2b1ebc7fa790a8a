"""The tiled rasterizer against the definition, and the definition against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.kernels import RasterConfig, rasterize

SH_C0 = 0.28209479177387814
GAUSSIAN_PARAMETERS = ("means", "quaternions", "scales", "opacities", "sh")


def one_camera(width=32, height=24, focal=30.0, cameras=1):
    return dict(
        camera_from_group=jnp.tile(jnp.eye(4), (cameras, 1, 1, 1)),
        group_valid=jnp.ones((cameras, 1), bool),
        intrinsics=jnp.tile(jnp.array([focal, focal, width / 2, height / 2]), (cameras, 1)),
        width=width,
        height=height,
    )


def random_gaussians(key, count, sh_degree=0, spread=3.0):
    k = jax.random.split(key, 5)
    depth = jax.random.uniform(k[0], (count, 1), minval=1.0, maxval=12.0)
    sideways = jax.random.uniform(k[1], (count, 2), minval=-1.0, maxval=1.0) * depth * 0.6
    return dict(
        means=jnp.concatenate([sideways, depth], axis=1),
        quaternions=jax.random.normal(k[2], (count, 4)),
        scales=jnp.exp(jax.random.uniform(k[3], (count, 3), minval=-4.0, maxval=-0.5)) * spread / 3,
        opacities=jax.random.uniform(k[4], (count,), minval=0.05, maxval=0.98),
        sh=jax.random.normal(k[0], (count, (sh_degree + 1) ** 2, 3)) * 0.6,
        group=jnp.zeros((count,), jnp.int32),
    )


def street_poses(key, cameras, groups):
    """Slightly turned and shifted cameras, with a second rigid group displaced in each."""
    angle = 0.1 * jax.random.normal(key, (cameras, groups))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    pose = jnp.tile(jnp.eye(4), (cameras, groups, 1, 1))
    pose = pose.at[..., 0, 0].set(cos).at[..., 0, 2].set(sin).at[..., 2, 0].set(-sin).at[..., 2, 2].set(cos)
    return pose.at[..., :3, 3].set(0.3 * jax.random.normal(key, (cameras, groups, 3)))


def test_one_gaussian_at_the_centre_of_a_pixel_is_its_closed_form():
    focal, depth, sigma, opacity = 20.0, 4.0, 0.3, 0.7
    width = height = 17  # so that the principal point is the centre of pixel (8, 8)
    raster = rasterize(
        jnp.array([[0.0, 0.0, depth]]),
        jnp.array([[1.0, 0, 0, 0]]),
        jnp.full((1, 3), sigma),
        jnp.array([opacity]),
        jnp.array([[[0.9, 0.5, 0.1]]]) / SH_C0 - 0.5 / SH_C0,
        group=jnp.zeros(1, jnp.int32),
        **one_camera(width, height, focal),
        backend="reference",
    )
    variance = (focal * sigma / depth) ** 2 + 0.3
    offset = np.arange(width) - 8.0
    expected = opacity * np.exp(-0.5 * (offset[None] ** 2 + offset[:, None] ** 2) / variance)
    expected[expected < 1 / 255] = 0
    np.testing.assert_allclose(raster.alpha[0], expected, atol=2e-6)
    np.testing.assert_allclose(raster.rgb[0, 8, 8], opacity * np.array([0.9, 0.5, 0.1]), atol=2e-6)
    np.testing.assert_allclose(np.asarray(raster.depth[0])[expected > 0], depth, rtol=1e-5)


def test_two_gaussians_blend_front_to_back_whatever_their_order():
    means = jnp.array([[0.0, 0.0, 6.0], [0.0, 0.0, 3.0]])
    colours = jnp.array([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]]) / SH_C0 - 0.5 / SH_C0
    for order in ([0, 1], [1, 0]):
        index = jnp.array(order)
        raster = rasterize(
            means[index],
            jnp.tile(jnp.array([1.0, 0, 0, 0]), (2, 1)),
            jnp.full((2, 3), 2.0),
            jnp.array([0.5, 0.6])[index],
            colours[index],
            group=jnp.zeros(2, jnp.int32),
            **one_camera(17, 17, 20.0),
        )
        # The centre pixel lies on both means: alpha is the opacity itself.
        np.testing.assert_allclose(raster.rgb[0, 8, 8], [0.4 * 0.5, 0.6, 0.0], atol=1e-5)
        np.testing.assert_allclose(raster.alpha[0, 8, 8], 0.8, atol=1e-5)
        np.testing.assert_allclose(raster.depth[0, 8, 8], (0.6 * 3 + 0.2 * 6) / 0.8, rtol=1e-5)


@pytest.mark.parametrize(
    "count, width, height, tile, step, sh_degree",
    [(60, 32, 24, 8, 16, 0), (300, 45, 19, 8, 32, 1), (200, 20, 33, 4, 8, 3), (1, 8, 8, 16, 8, 0)],
)
def test_tiled_equals_reference_with_gradients(count, width, height, tile, step, sh_degree):
    cameras = 2
    key = jax.random.key(count)
    gaussians = random_gaussians(key, count, sh_degree)
    gaussians["group"] = (jnp.arange(count) % 3 == 0).astype(jnp.int32)
    view = one_camera(width, height, cameras=cameras)
    view["group_valid"] = jnp.array([[True, True], [True, count == 1]])
    poses = street_poses(key, cameras, 2)
    config = RasterConfig(pairs_per_camera=count * 40, tile=tile, splats_per_step=step, tiles_per_block=4)
    rng = np.random.default_rng(1)
    weights = {
        "rgb": rng.normal(size=(cameras, height, width, 3)).astype(np.float32),
        "depth": 0.1 * rng.normal(size=(cameras, height, width)).astype(np.float32),
        "alpha": rng.normal(size=(cameras, height, width)).astype(np.float32),
    }

    def loss(parameters, poses, intrinsics, backend):
        arguments = {**view, "camera_from_group": poses, "intrinsics": intrinsics}
        raster = rasterize(
            *(parameters[name] for name in GAUSSIAN_PARAMETERS),
            group=gaussians["group"],
            **arguments,
            backend=backend,
            config=config,
        )
        total = sum(jnp.sum(getattr(raster, name) * weight) for name, weight in weights.items())
        return total, raster

    parameters = {name: gaussians[name] for name in GAUSSIAN_PARAMETERS}
    results = {}
    for backend in ("reference", "xla"):
        both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True), static_argnums=3)
        results[backend] = both(parameters, poses, view["intrinsics"], backend)
    (_, expected), expected_gradients = results["reference"]
    (_, actual), actual_gradients = results["xla"]
    assert not np.any(actual.overflow)
    # Same arithmetic in another order of summation: float32 rounding is all that may differ.
    np.testing.assert_allclose(actual.rgb, expected.rgb, atol=2e-5)
    np.testing.assert_allclose(actual.alpha, expected.alpha, atol=2e-5)
    np.testing.assert_allclose(actual.depth, expected.depth, atol=1e-3)
    for mine, other in zip(jax.tree.leaves(actual_gradients), jax.tree.leaves(expected_gradients), strict=True):
        mine, other = np.asarray(mine, np.float64).ravel(), np.asarray(other, np.float64).ravel()
        assert np.linalg.norm(mine - other) <= 1e-3 * np.linalg.norm(other) + 1e-5
        if np.linalg.norm(other) > 1e-3:
            assert mine @ other / np.linalg.norm(mine) / np.linalg.norm(other) >= 0.9999


def test_gradient_is_the_finite_difference():
    # Gaussians so wide that every pixel lies inside every one: the image is smooth in the parameters.
    gaussians = random_gaussians(jax.random.key(3), 8)
    gaussians["scales"] = gaussians["scales"] * 0.2 + 5.0
    gaussians["opacities"] = 0.1 + 0.3 * gaussians["opacities"]
    view = one_camera(16, 12, 15.0)

    @jax.jit
    def loss(means):
        others = [gaussians[name] for name in GAUSSIAN_PARAMETERS[1:]]
        return jnp.sum(rasterize(means, *others, group=gaussians["group"], **view).rgb ** 2)

    direction = jax.random.normal(jax.random.key(4), gaussians["means"].shape)
    exact = jnp.sum(jax.jit(jax.grad(loss))(gaussians["means"]) * direction)
    step = 1e-2
    numeric = (loss(gaussians["means"] + step * direction) - loss(gaussians["means"] - step * direction)) / (2 * step)
    np.testing.assert_allclose(exact, numeric, rtol=0.01, atol=1e-3)


def test_saturated_pixels_stop_at_the_threshold():
    """Behind three splats of alpha 0.999 nothing is seen: the third would pass the threshold and is not blended."""
    count = 6
    raster = {
        backend: rasterize(
            jnp.stack([jnp.zeros(count), jnp.zeros(count), 2.0 + jnp.arange(count)], axis=1),
            jnp.tile(jnp.array([1.0, 0, 0, 0]), (count, 1)),
            jnp.full((count, 3), 50.0),
            jnp.full((count,), 1.0),
            jnp.zeros((count, 1, 3)),
            group=jnp.zeros(count, jnp.int32),
            **one_camera(8, 8, 10.0),
            backend=backend,
        )
        for backend in ("reference", "xla")
    }
    for one in raster.values():
        np.testing.assert_allclose(one.alpha, 0.999, atol=1e-6)
        np.testing.assert_allclose(one.depth, 2.0, rtol=1e-6)


def test_too_small_a_capacity_is_flagged_with_the_size_that_would_do():
    gaussians = random_gaussians(jax.random.key(0), 100)
    view = one_camera(cameras=2)
    arguments = [gaussians[name] for name in GAUSSIAN_PARAMETERS]
    short = rasterize(*arguments, group=gaussians["group"], **view, config=RasterConfig(pairs_per_camera=64))
    assert np.all(short.overflow)
    assert np.all(np.isfinite(short.rgb))
    enough = RasterConfig(pairs_per_camera=int(short.pairs.max()))
    assert not np.any(rasterize(*arguments, group=gaussians["group"], **view, config=enough).overflow)


@pytest.mark.parametrize("backend", ["reference", "xla"])
@pytest.mark.parametrize("field", GAUSSIAN_PARAMETERS)
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_splat_that_is_not_finite_never_reaches_the_image(backend, field, poison):
    gaussians = random_gaussians(jax.random.key(0), 20)
    view = one_camera()
    without = {name: gaussians[name][1:] for name in gaussians}
    poisoned = dict(gaussians)
    poisoned[field] = poisoned[field].at[0].set(poison)
    draw = {}
    for name, values in (("without", without), ("poisoned", poisoned)):
        arguments = [values[parameter] for parameter in GAUSSIAN_PARAMETERS]
        draw[name] = rasterize(*arguments, group=values["group"], **view, backend=backend)
    if field == "opacities" and poison == np.inf:
        assert np.all(np.isfinite(draw["poisoned"].rgb))  # an infinite opacity is merely opaque
    else:
        np.testing.assert_allclose(draw["poisoned"].rgb, draw["without"].rgb, atol=1e-6)


def test_no_visible_splats_gives_an_empty_image_and_finite_gradients():
    gaussians = random_gaussians(jax.random.key(0), 10)
    view = one_camera()

    def loss(means):
        others = [gaussians[name] for name in GAUSSIAN_PARAMETERS[1:]]
        raster = rasterize(means, *others, group=gaussians["group"], **view)
        return jnp.sum(raster.rgb) + jnp.sum(raster.depth), raster

    behind = gaussians["means"] * jnp.array([1.0, 1.0, -1.0])
    (_, raster), gradient = jax.value_and_grad(loss, has_aux=True)(behind)
    assert np.all(np.asarray(raster.alpha) == 0) and np.all(np.asarray(raster.rgb) == 0)
    assert np.all(np.asarray(gradient) == 0)


def test_same_inputs_give_the_same_bits():
    gaussians = random_gaussians(jax.random.key(0), 200)
    view = one_camera(cameras=3)
    draw = jax.jit(
        lambda g: rasterize(*(g[name] for name in GAUSSIAN_PARAMETERS), group=gaussians["group"], **view).rgb
    )
    assert np.array_equal(draw(gaussians), draw(gaussians))


def test_wrong_structure_is_named():
    gaussians = random_gaussians(jax.random.key(0), 4)
    arguments = [gaussians[name] for name in GAUSSIAN_PARAMETERS]
    with pytest.raises(ValueError, match="backend 'metal' is unknown"):
        rasterize(*arguments, group=gaussians["group"], **one_camera(), backend="metal")
    arguments[4] = jnp.zeros((4, 2, 3))
    with pytest.raises(ValueError, match="2 coefficients; expected 1, 4, 9 or 16"):
        rasterize(*arguments, group=gaussians["group"], **one_camera())
    with pytest.raises(ValueError, match=r"splats_per_step is 0; expected an integer >= 1"):
        RasterConfig(splats_per_step=0)
