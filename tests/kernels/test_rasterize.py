"""Every backend against the definition, and the definition against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.kernels import Arena, RasterConfig, calibrate, rasterize, validate_arena

SH_C0 = 0.28209479177387814
PARAMETERS = ("means", "quaternions", "scales", "opacities", "sh")
FAST = ("xla", "gpu")


def arena_of(means, scales, opacities, colours) -> Arena:
    means = jnp.asarray(means, jnp.float32)
    count = means.shape[0]
    return Arena(
        means=means,
        quaternions=jnp.tile(jnp.array([1.0, 0.0, 0.0, 0.0]), (count, 1)),
        scales=jnp.broadcast_to(jnp.asarray(scales, jnp.float32), (count, 3)),
        opacities=jnp.broadcast_to(jnp.asarray(opacities, jnp.float32), (count,)),
        sh=(jnp.asarray(colours, jnp.float32)[:, None] - 0.5) / SH_C0,
        group=jnp.zeros(count, jnp.int32),
    )


def value_and_gradients(arena, views, backend, config, antialiased=False):
    """A random projection of the images, the images, and its gradient in everything that has one."""
    rng = np.random.default_rng(1)
    size = (views.count, views.height, views.width)
    weights = {
        "rgb": rng.normal(size=(*size, 3)).astype(np.float32),
        "depth": 0.1 * rng.normal(size=size).astype(np.float32),
        "alpha": rng.normal(size=size).astype(np.float32),
    }

    def loss(parameters, pose, intrinsics):
        raster = rasterize(
            arena.replace(**parameters),
            views.replace(camera_from_group=pose, intrinsics=intrinsics),
            antialiased=antialiased,
            backend=backend,
            config=config,
        )
        return sum(jnp.sum(getattr(raster, name) * weight) for name, weight in weights.items()), raster

    parameters = {name: getattr(arena, name) for name in PARAMETERS}
    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, raster), gradients = both(parameters, views.camera_from_group, views.intrinsics)
    return raster, gradients


def assert_same(actual, expected, gradients=None, expected_gradients=None):
    """The bounds that every backend must keep: 2e-3 and 60 dB; 1e-3 and cosine 0.9999 for gradients."""
    assert not np.any(actual.overflow)
    for name in ("rgb", "alpha"):
        difference = np.asarray(getattr(actual, name)) - np.asarray(getattr(expected, name))
        assert np.abs(difference).max() <= 2e-3
        assert np.mean(difference**2) <= 1e-6
    np.testing.assert_allclose(actual.depth, expected.depth, rtol=2e-3, atol=2e-3)
    if gradients is None:
        return
    for mine, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected_gradients), strict=True):
        mine, other = np.asarray(mine, np.float64).ravel(), np.asarray(other, np.float64).ravel()
        assert np.all(np.isfinite(mine))
        assert np.linalg.norm(mine - other) <= 1e-3 * np.linalg.norm(other) + 1e-5
        if np.linalg.norm(other) > 1e-3:
            assert mine @ other / np.linalg.norm(mine) / np.linalg.norm(other) >= 0.9999


def test_one_gaussian_at_the_centre_of_a_pixel_is_its_closed_form(views):
    focal, depth, sigma, opacity = 20.0, 4.0, 0.3, 0.7
    arena = arena_of([[0.0, 0.0, depth]], sigma, opacity, [[0.9, 0.5, 0.1]])
    # A side of 17 makes the principal point the centre of pixel (8, 8).
    raster = rasterize(arena, views(17, 17, focal), backend="reference")
    variance = (focal * sigma / depth) ** 2 + 0.3
    offset = np.arange(17) - 8.0
    expected = opacity * np.exp(-0.5 * (offset[None] ** 2 + offset[:, None] ** 2) / variance)
    expected[expected < 1 / 255] = 0
    np.testing.assert_allclose(raster.alpha[0], expected, atol=2e-6)
    np.testing.assert_allclose(raster.rgb[0, 8, 8], opacity * np.array([0.9, 0.5, 0.1]), atol=2e-6)
    np.testing.assert_allclose(np.asarray(raster.depth[0])[expected > 0], depth, rtol=1e-5)


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_antialiasing_takes_from_the_peak_what_the_blur_adds_around_it(views, backend):
    variance, opacity = (20.0 * 0.2 / 4.0) ** 2, 0.9
    arena = arena_of([[0.0, 0.0, 4.0]], 0.2, opacity, [[1.0, 1.0, 1.0]])
    alpha = rasterize(arena, views(17, 17, 20.0), backend=backend, antialiased=True).alpha[0]
    np.testing.assert_allclose(alpha[8, 8], opacity * variance / (variance + 0.3), rtol=1e-5)


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_two_gaussians_blend_front_to_back_whatever_their_order(views, backend):
    means = np.array([[0.0, 0.0, 6.0], [0.0, 0.0, 3.0]])
    colours = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    for order in ([0, 1], [1, 0]):
        arena = arena_of(means[order], 2.0, np.array([0.5, 0.6])[order], colours[order])
        raster = rasterize(arena, views(17, 17, 20.0), backend=backend)
        # The centre pixel lies on both means: alpha is the opacity itself.
        np.testing.assert_allclose(raster.rgb[0, 8, 8], [0.4 * 0.5, 0.6, 0.0], atol=1e-5)
        np.testing.assert_allclose(raster.alpha[0, 8, 8], 0.8, atol=1e-5)
        np.testing.assert_allclose(raster.depth[0, 8, 8], (0.6 * 3 + 0.2 * 6) / 0.8, rtol=1e-5)


@pytest.mark.parametrize(
    "count, width, height, tile, step, sh_degree, antialiased",
    [
        (60, 32, 24, 8, 16, 0, False),
        (300, 45, 19, 8, 32, 1, True),
        (200, 20, 33, 4, 8, 3, False),
        (1, 8, 8, 16, 8, 2, True),
    ],
)
@pytest.mark.parametrize("backend", FAST)
def test_backends_equal_the_reference_with_gradients(
    views, poses, cloud, backend, count, width, height, tile, step, sh_degree, antialiased
):
    key = jax.random.key(count)
    arena = cloud(key, count, sh_degree)
    arena = arena.replace(group=(jnp.arange(count) % 3 == 0).astype(jnp.int32))
    view = views(width, height, cameras=2, groups=2).replace(camera_from_group=poses(key, 2, 2))
    view = view.replace(group_valid=jnp.array([[True, True], [True, count == 1]]))
    config = RasterConfig(pairs_per_camera=count * 40, tile=tile, splats_per_step=step, tiles_per_block=4)
    expected = value_and_gradients(arena, view, "reference", config, antialiased)
    actual = value_and_gradients(arena, view, backend, config, antialiased)
    assert_same(actual[0], expected[0], actual[1], expected[1])
    without = rasterize(arena, view, antialiased=antialiased, backend=backend, config=config)
    assert_same(without, expected[0])


def hard_cases() -> Arena:
    """Needles, splats larger than the image, across the near plane, transparent, and several in one place."""
    rng = np.random.default_rng(0)
    means = rng.uniform([-1.5, -1.0, 2.0], [1.5, 1.0, 8.0], (60, 3))
    scales = np.exp(rng.uniform(-3, -1, (60, 3)))
    opacities = rng.uniform(0.1, 0.9, 60)
    scales[:12, 0], scales[:12, 1:] = 2.0, 1e-3
    scales[12:18] = rng.uniform(5, 30, (6, 3))
    opacities[12:18] = 0.3
    means[18:26, 2] = rng.uniform(-0.2, 0.2, 8)
    opacities[26:32] = rng.uniform(0, 1 / 255, 6)
    means[32:44] = means[32]
    means[44:50, 2] = means[44, 2]
    arena = arena_of(means, 1.0, 1.0, rng.uniform(0, 1, (60, 3)))
    quaternions = jnp.asarray(rng.normal(size=(60, 4)), jnp.float32)
    return arena.replace(
        quaternions=quaternions, scales=jnp.asarray(scales, jnp.float32), opacities=jnp.asarray(opacities, jnp.float32)
    )


@pytest.mark.parametrize("backend", FAST)
def test_hard_cases_equal_the_reference(views, backend):
    config = RasterConfig(pairs_per_camera=4000)
    arena, view = hard_cases(), views(40, 26)
    expected = value_and_gradients(arena, view, "reference", config)
    actual = value_and_gradients(arena, view, backend, config)
    assert_same(actual[0], expected[0])
    # Needles and splats at the near plane have gradients of 1e6: relative to the whole, not entry by entry.
    for mine, other in zip(jax.tree.leaves(actual[1]), jax.tree.leaves(expected[1]), strict=True):
        assert np.linalg.norm(mine - other) <= 5e-3 * np.linalg.norm(other)


@pytest.mark.parametrize("cameras", [1, 600])
def test_splats_closer_in_depth_than_a_key_tells_apart_keep_their_order(views, cameras):
    """Many cameras leave few bits of a sort key for depth; the order must be that of the whole depth all the same."""
    rng = np.random.default_rng(2)
    depth = 5.0 + 1e-5 * rng.permutation(40)
    means = np.stack([*rng.uniform(-0.3, 0.3, (2, 40)), depth], axis=1)
    arena = arena_of(means, 0.5, 0.5, rng.uniform(0, 1, (40, 3)))
    view = views(9, 8, 10.0, cameras=cameras)
    expected = rasterize(arena, jax.tree.map(lambda leaf: leaf[:1], view), backend="reference")
    actual = rasterize(arena, view, backend="gpu", config=RasterConfig(pairs_per_camera=192))
    for camera in (0, cameras - 1):
        np.testing.assert_allclose(actual.rgb[camera], expected.rgb[0], atol=2e-5)


def test_gradient_is_the_finite_difference(views, cloud):
    # Gaussians so wide that every pixel lies inside every one: the image is smooth in the parameters.
    arena = cloud(jax.random.key(3), 8)
    arena = arena.replace(scales=arena.scales * 0.2 + 5.0, opacities=0.1 + 0.3 * arena.opacities)
    view = views(16, 12, 15.0)

    @jax.jit
    def loss(means):
        return jnp.sum(rasterize(arena.replace(means=means), view, backend="xla").rgb ** 2)

    direction = jax.random.normal(jax.random.key(4), arena.means.shape)
    exact = jnp.sum(jax.jit(jax.grad(loss))(arena.means) * direction)
    step = 1e-2
    numeric = (loss(arena.means + step * direction) - loss(arena.means - step * direction)) / (2 * step)
    np.testing.assert_allclose(exact, numeric, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_saturated_pixels_stop_at_the_threshold(views, backend):
    """Behind three splats of alpha 0.999 nothing is seen: the third would pass the threshold and is not blended."""
    means = np.stack([np.zeros(6), np.zeros(6), 2.0 + np.arange(6)], axis=1)
    raster = rasterize(arena_of(means, 50.0, 1.0, np.full((6, 3), 0.5)), views(8, 8, 10.0), backend=backend)
    np.testing.assert_allclose(raster.alpha, 0.999, atol=1e-6)
    np.testing.assert_allclose(raster.depth, 2.0, rtol=1e-6)


@pytest.mark.parametrize("backend", FAST)
def test_too_small_a_capacity_is_flagged_with_the_size_that_would_do(views, cloud, backend):
    arena, view = cloud(jax.random.key(0), 100), views(cameras=2)
    draw = jax.jit(lambda config: rasterize(arena, view, backend=backend, config=config), static_argnums=0)
    short = draw(RasterConfig(pairs_per_camera=16))
    assert np.all(short.overflow)
    assert np.all(np.isfinite(short.rgb))
    assert not np.any(draw(RasterConfig(pairs_per_camera=int(short.pairs.max()))).overflow)


@pytest.mark.parametrize("backend", FAST)
def test_called_eagerly_a_capacity_grows_by_itself(views, cloud, backend):
    arena, view = cloud(jax.random.key(0), 100), views(cameras=2)
    raster = rasterize(arena, view, backend=backend, config=RasterConfig(pairs_per_camera=16))
    assert_same(raster, rasterize(arena, view, backend="reference"))


def test_calibration_finds_room_for_a_sweep(views, poses, cloud):
    arena = cloud(jax.random.key(0), 200)
    view = views(cameras=12).replace(camera_from_group=poses(jax.random.key(1), 12, 1))
    config = calibrate(arena, view, backend="xla", cameras=5)
    pairs = np.asarray(rasterize(arena, view, backend="xla").pairs)
    assert pairs.mean() <= config.pairs_per_camera <= 2 * pairs.max() + 64
    assert not np.any(jax.jit(lambda: rasterize(arena, view, backend="xla", config=config).overflow)())


@pytest.mark.parametrize("backend", ["reference", *FAST])
@pytest.mark.parametrize("field", PARAMETERS)
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_splat_that_is_not_finite_never_reaches_the_image(views, cloud, backend, field, poison):
    arena, view = cloud(jax.random.key(0), 20), views()
    hidden = arena.replace(opacities=arena.opacities.at[0].set(0.0))
    poisoned = arena.replace(**{field: getattr(arena, field).at[0].set(poison)})
    drawn = rasterize(poisoned, view, backend=backend)
    np.testing.assert_allclose(drawn.rgb, rasterize(hidden, view, backend=backend).rgb, atol=1e-6)
    with pytest.raises(ValueError, match=rf"arena.{field} is not finite for 1 of 20 Gaussians, first \[0\]"):
        validate_arena(poisoned)


@pytest.mark.parametrize("backend", FAST)
def test_a_camera_that_is_not_finite_sees_nothing(views, cloud, backend):
    arena, view = cloud(jax.random.key(0), 20), views(cameras=2)
    broken = view.replace(
        camera_from_group=view.camera_from_group.at[0].set(np.nan), intrinsics=view.intrinsics.at[1, 0].set(np.inf)
    )
    drawn = rasterize(arena, broken, backend=backend)
    assert np.all(np.asarray(drawn.alpha) == 0) and np.all(np.asarray(drawn.rgb) == 0)


@pytest.mark.parametrize("backend", FAST)
def test_no_visible_splats_gives_an_empty_image_and_finite_gradients(views, cloud, backend):
    arena, view = cloud(jax.random.key(0), 10), views()
    behind = arena.replace(means=arena.means * jnp.array([1.0, 1.0, -1.0]))
    raster, gradients = value_and_gradients(behind, view, backend, RasterConfig(pairs_per_camera=256))
    assert np.all(np.asarray(raster.alpha) == 0) and np.all(np.asarray(raster.rgb) == 0)
    assert np.all(np.asarray(gradients[0]["means"]) == 0)


@pytest.mark.parametrize("backend", FAST)
def test_same_inputs_give_the_same_bits(views, cloud, backend):
    arena, view = cloud(jax.random.key(0), 200), views(cameras=3)
    config = RasterConfig(pairs_per_camera=8000)
    first, again = (value_and_gradients(arena, view, backend, config) for _ in range(2))
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("backend", FAST)
def test_several_scenes_in_one_arena_are_drawn_each_by_its_own_cameras(views, poses, cloud, backend):
    sizes = (150, 70, 200)  # no multiples of a cluster
    clouds = [cloud(jax.random.key(i), size) for i, size in enumerate(sizes)]
    arena = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *clouds)
    arena = arena.replace(scene_start=jnp.array([0, 150, 220, 420]), largest_scene=200)
    view = views(cameras=5).replace(camera_from_group=poses(jax.random.key(9), 5, 1), scene=jnp.array([2, 0, 1, 1, 2]))
    drawn = rasterize(arena, view, backend=backend)
    for camera, scene in enumerate(np.asarray(view.scene)):
        alone = jax.tree.map(lambda leaf, camera=camera: leaf[camera : camera + 1], view.replace(scene=None))
        expected = rasterize(clouds[scene], alone, backend="reference")
        np.testing.assert_allclose(drawn.rgb[camera], expected.rgb[0], atol=2e-5)


@pytest.mark.parametrize("backend", FAST)
def test_a_call_in_passes_is_the_same(views, poses, cloud, backend):
    arena = cloud(jax.random.key(0), 100)
    view = views(cameras=5).replace(camera_from_group=poses(jax.random.key(1), 5, 1))
    passes = RasterConfig(pairs_per_camera=4000, cameras_per_pass=2)
    whole = rasterize(arena, view, backend=backend, config=RasterConfig(pairs_per_camera=4000))
    np.testing.assert_allclose(rasterize(arena, view, backend=backend, config=passes).rgb, whole.rgb, atol=1e-6)
