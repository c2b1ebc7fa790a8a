import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.kernels import CLUSTER, RasterConfig, Views, rasterize, validate_arena
from jaxrecon.kernels.selection import chosen_clusters
from jaxrecon.render import levels_arena, scene_arena
from jaxrecon.scene.colour_fit import blend_matrix, fit_colours
from jaxrecon.scene.gaussians import SH_C0, Gaussians
from jaxrecon.scene.levels import FAINTEST, LevelsConfig, build_levels, join_levels
from jaxrecon.scene.merging import Moments, merge, principal_axes
from jaxrecon.scene.scene import Scene

SMALL = LevelsConfig(finest=0.5, levels=4)


def make_scene(means, scales=0.1, opacities=0.7, colours=0.5, group=0, sh_degree=0, seed=0) -> Scene:
    """Gaussians at given places; everything else is broadcast, rotations are random."""
    random = np.random.default_rng(seed)
    n = len(means)
    opacities = np.broadcast_to(opacities, (n,))
    sh = 0.1 * random.normal(size=(n, (sh_degree + 1) ** 2, 3))
    sh[:, 0] = (np.broadcast_to(colours, (n, 3)) - 0.5) / SH_C0
    gaussians = Gaussians(
        means=jnp.asarray(means, jnp.float32),
        quaternions=jnp.asarray(random.normal(size=(n, 4)), jnp.float32),
        log_scales=jnp.log(jnp.asarray(np.broadcast_to(scales, (n, 3)), jnp.float32)),
        opacity_logits=jnp.asarray(np.log(opacities / (1 - opacities)), jnp.float32),
        sh=jnp.asarray(sh, jnp.float32),
        valid=jnp.ones(n, bool),
    )
    group = np.broadcast_to(group, (n,)).astype(np.int32)
    return Scene(gaussians, jnp.asarray(group), jnp.zeros((2, 4, 3)), jnp.ones((int(group.max()), 3)))


def cloud(n: int, seed: int = 0, size=(60.0, 40.0, 8.0)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (n, 3)) * size


def views_at(positions, focal: float = 48.0, groups: int = 1, width: int = 96, height: int = 64) -> Views:
    """Cameras that look along world x from given positions; every group's frame is the world's."""
    rotation = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    pose = np.tile(np.eye(4), (len(positions), groups, 1, 1))
    pose[..., :3, :3] = rotation
    pose[..., :3, 3] = -(np.asarray(positions) @ rotation.T)[:, None]
    return Views(
        camera_from_group=jnp.asarray(pose, jnp.float32),
        group_valid=jnp.ones((len(positions), groups), bool),
        intrinsics=jnp.tile(jnp.asarray([focal, focal, width / 2, height / 2]), (len(positions), 1)),
        width=width,
        height=height,
    )


def within(points: np.ndarray, cubes: np.ndarray) -> np.ndarray:
    """Which points lie in which half-open cubes, (point, cube)."""
    low, side = cubes[None, :, :3], cubes[None, :, 3:]
    return ((points[:, None] >= low) & (points[:, None] < low + side)).all(axis=-1)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("detail", [0.7, 4.0])
def test_every_place_is_drawn_at_exactly_one_level(raw, detail):
    means = cloud(3000)
    levels = build_levels(make_scene(means), LevelsConfig(finest=0.5, levels=4, raw=raw))
    clusters = levels_arena(levels).clusters
    positions = np.concatenate([cloud(40, seed=1), cloud(10, seed=2, size=(900.0, 900.0, 50.0)), means[:5]])
    chosen = np.asarray(chosen_clusters(clusters, views_at(positions), jnp.float32(detail)))
    cells, near = np.asarray(levels.cell), np.asarray(levels.near)
    inside = within(means.astype(np.float32), cells)
    # A cell may hold several clusters of its level, so levels are counted, not clusters.
    drawn = np.stack([(inside[:, near == voxel] @ chosen[:, near == voxel].T) > 0 for voxel in np.unique(near)])
    assert (drawn.sum(axis=0) == 1).all()
    assert (drawn.any(axis=(1, 2))).sum() >= 4, "the cameras should see most levels"


def test_cells_nest_and_levels_touch():
    levels = jax.device_get(build_levels(make_scene(cloud(3000)), SMALL))
    rows = {tuple(row) for row in np.column_stack([levels.near, levels.cell])}
    for far, parent in zip(levels.far, levels.parent, strict=True):
        assert np.isinf(far) or (far, *parent) in rows
    low, high = ([cube[:, :3] + end * cube[:, 3:] for cube in (levels.cell, levels.parent)] for end in (0, 1))
    assert (low[0] >= low[1] - 1e-4).all() and (high[0] <= high[1] + 1e-4).all()  # float32 at 60 m
    assert set(np.unique(levels.near)) == {0.0, 0.5, 1.0, 2.0, 4.0}
    # One level sees all: the means of a cluster are within its cell and its sphere.
    means = levels.means.reshape(-1, CLUSTER, 3)
    low, side = levels.cell[:, None, :3], levels.cell[:, None, 3:]
    assert ((means >= low - 1e-4) & (means <= low + side + 1e-4)).all()  # float32 at 60 m
    away = np.linalg.norm(means - levels.cluster_centre[:, None], axis=-1)
    reach = np.where(levels.opacities > 0, 3.33 * levels.scales.max(axis=1), 0).reshape(away.shape)
    assert (away + reach <= levels.cluster_radius[:, None] * (1 + 1e-5)).all()


def test_two_gaussians_merge_in_closed_form():
    parts = Moments(
        means=np.array([[0.0, 0, 0], [1.0, 0, 0]]),
        covariances=np.stack([np.eye(3) * 0.04, np.eye(3) * 0.16]),
        opacities=np.array([0.5, 0.25]),
        sh=np.array([[[1.0, 0, 0]], [[0, 1.0, 0]]]),
        group=np.array([3, 3]),
    )
    one = merge(parts, np.array([0, 0]), spread=1.0)
    # Shadows of balls are their variances: weights 0.5 x 0.04 to 0.25 x 0.16 are 1 to 2.
    np.testing.assert_allclose(one.means, [[2 / 3, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(one.sh, [[[1 / 3, 2 / 3, 0]]], atol=1e-12)
    scatter = 1 / 3 * (2 / 3) ** 2 + 2 / 3 * (1 / 3) ** 2
    np.testing.assert_allclose(one.covariances, [np.diag([0.12 + scatter, 0.12, 0.12])], atol=1e-12)
    thickness = np.log(2) * 0.04 + np.log(4 / 3) * 0.16
    shadow = np.sqrt((2 * (0.12 + scatter) * 0.12 + 0.12**2) / 3)
    np.testing.assert_allclose(one.opacities, 1 - np.exp(-thickness / shadow), atol=1e-12)
    assert one.group.tolist() == [3]


def test_merging_keeps_weighted_moments_of_the_whole():
    random = np.random.default_rng(0)
    axes = random.normal(size=(500, 3, 3)) * 0.2
    parts = Moments(random.normal(size=(500, 3)), axes @ axes.transpose(0, 2, 1), np.full(500, 0.01),
                    random.normal(size=(500, 4, 3)), np.zeros(500, int))  # fmt: skip
    owner = random.integers(0, 20, 500)
    merged = merge(parts, owner, spread=1.0)
    # Merging in two steps with the groups' own weights is merging at once.
    minors = np.linalg.det(parts.covariances)[:, None, None] * np.linalg.inv(parts.covariances)
    weights = 0.01 * np.sqrt(np.trace(minors, axis1=1, axis2=2) / 3)
    totals = np.bincount(owner, weights)
    for name in ("means", "sh"):
        whole = np.tensordot(weights, getattr(parts, name), 1)
        np.testing.assert_allclose(np.tensordot(totals, getattr(merged, name), 1), whole, rtol=1e-9)
    second = np.einsum("n,nij->ij", weights, parts.covariances) + (parts.means.T * weights) @ parts.means
    kept = np.einsum("n,nij->ij", totals, merged.covariances) + (merged.means.T * totals) @ merged.means
    np.testing.assert_allclose(kept, second, rtol=1e-9)


def test_principal_axes_rebuild_the_covariance():
    axes = np.random.default_rng(0).normal(size=(200, 3, 3))
    axes[:50, :, 0] = 0  # flat
    axes[:10, :, 1] = 0  # needles
    covariances = axes @ axes.transpose(0, 2, 1)
    q, scales = principal_axes(covariances)
    np.testing.assert_allclose(np.linalg.norm(q, axis=1), 1, atol=1e-12)
    w, x, y, z = q.T
    rotation = np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                         [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                         [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])  # fmt: skip
    rebuilt = np.einsum("ijn,nj,kjn->nik", rotation, scales**2, rotation)
    np.testing.assert_allclose(rebuilt, covariances, atol=1e-9)
    assert (scales > 0).all()


def moments_of(means, colours, deviation=0.3, group=0) -> Moments:
    """Balls of one size and opacity with view-independent colours."""
    n = len(means)
    covariances = np.tile(deviation**2 * np.eye(3), (n, 1, 1))
    return Moments(means, covariances, np.full(n, 0.5), colours[:, None], np.broadcast_to(group, (n,)))


def test_a_blend_is_a_share_by_opacity_and_falloff_within_the_group():
    two = moments_of(np.array([[0.0, 0, 0], [0.6, 0, 0]]), np.zeros((2, 3)))
    two = two._replace(opacities=np.array([0.5, 0.25]))
    places = np.array([[0.3, 0, 0], [0.1, 0, 0]])
    blend = blend_matrix(places, np.zeros(2, int), two).toarray()
    variance = 0.09 * 1.06 + 1e-12  # softened
    falloff = np.exp(-0.5 * np.array([[0.09, 0.09], [0.01, 0.25]]) / variance) * [0.5, 0.25]
    np.testing.assert_allclose(blend, falloff / falloff.sum(axis=1, keepdims=True), rtol=1e-9)
    apart = blend_matrix(places, np.array([0, 4]), two._replace(group=np.array([0, 4]))).toarray()
    np.testing.assert_array_equal(apart, np.eye(2))


def test_fitted_colours_bring_back_contrast():
    random = np.random.default_rng(0)
    means = np.column_stack([random.uniform(0, 12, (2000, 2)), np.zeros(2000)])
    colours = 0.5 + 0.2 * np.sin(1.6 * means[:, :1] + [0.0, 1.0, 2.0])
    colours[:2] = [[0.1] * 3, [0.9] * 3]
    parts = moments_of(means, colours, deviation=0.2)
    owner = np.unique(np.floor(means[:, 0]) * 100 + np.floor(means[:, 1]), return_inverse=True)[1]
    merged = merge(parts, owner, spread=3.0)
    seen = blend_matrix(means, parts.group, parts) @ colours
    blend = blend_matrix(means, parts.group, merged)
    fitted = fit_colours(parts, owner, merged, seen)

    def error(values):
        return np.mean((blend @ values - seen) ** 2)

    assert error(fitted) < 0.7 * error(merged.sh[:, 0])
    assert fitted.min() >= 0.1 and fitted.max() <= 0.9, "no colour outside the range of the parts"
    uniform = parts._replace(sh=np.full((2000, 1, 3), 0.4))
    kept = fit_colours(uniform, owner, merge(uniform, owner, spread=3.0), np.full((2000, 3), 0.4))
    np.testing.assert_allclose(kept, 0.4, atol=1e-12)


def supersampled(scene: Scene, positions) -> np.ndarray:
    """Exact drawing at 384x256, box-filtered to 96x64."""
    views = views_at(positions, focal=192.0, width=384, height=256)
    raster = rasterize(scene_arena(scene), views, backend="xla", config=RasterConfig(pairs_per_camera=60000))
    images = np.concatenate([raster.rgb, raster.alpha[..., None]], axis=-1)
    return images.reshape(len(positions), 64, 4, 96, 4, 4).mean(axis=(2, 4))


def psnr(images: np.ndarray, reference: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((images - reference) ** 2)))


@pytest.mark.parametrize("smooth", [False, True])
def test_levels_are_closer_to_the_supersampled_drawing_than_exact_drawing(smooth):
    random = np.random.default_rng(3)
    means = np.stack([random.uniform(15, 45, 3000), random.uniform(-8, 8, 3000), random.normal(0, 0.05, 3000)], axis=1)
    waves = 0.5 + 0.4 * np.sin(means * [0.4, 0.5, 1.0] + [0, 1, 2])
    scene = make_scene(means, 0.15, 0.8, waves if smooth else random.uniform(size=(3000, 3)))
    positions = [[0.0, 0.0, 4.0], [5.0, 3.0, 3.0]]
    reference = supersampled(scene, positions)
    views, config = views_at(positions), RasterConfig(pairs_per_camera=30000)
    exact = rasterize(scene_arena(scene), views, backend="xla", config=config)
    levels = build_levels(scene, SMALL)
    coarse = rasterize(levels_arena(levels), views, antialiased=True, detail=3.0, backend="xla", config=config)
    quality = psnr(np.asarray(coarse.rgb), reference[..., :3])
    # Seen: 35.5 and 36.7 dB, exact 27.3 and 25.0; with spread 0 the surface has holes, 32 dB and 0.007 less alpha.
    assert quality > psnr(np.asarray(exact.rgb), reference[..., :3]) + 5
    assert quality > 34
    assert np.all(2 * coarse.pairs < exact.pairs)
    assert abs(np.mean(coarse.alpha) - np.mean(reference[..., 3])) < 0.004


def test_actors_keep_to_their_groups():
    means = np.concatenate(
        [cloud(500), cloud(300, seed=1, size=(4.0, 2.0, 1.5)), cloud(300, seed=2, size=(4.0, 2.0, 1.5))]
    )
    group = np.repeat([0, 1, 2], [500, 300, 300])
    colours = np.eye(3)[group]
    levels = jax.device_get(build_levels(make_scene(means, colours=colours, group=group), SMALL))
    np.testing.assert_array_equal(levels.group, np.repeat(levels.cluster_group, CLUSTER))
    # Each group has a colour of its own; a mixture would show.
    np.testing.assert_allclose(levels.sh[:, 0] * SH_C0 + 0.5, np.eye(3)[levels.group], atol=1e-5)
    for one in range(3):
        assert set(np.unique(levels.near[levels.cluster_group == one])) == {0.0, 0.5, 1.0, 2.0, 4.0}
    alone = jax.device_get(build_levels(make_scene(means[group == 1], colours=colours[group == 1]), SMALL))
    for side, own in ((levels, levels.group == 1), (alone, alone.group == 0)):
        assert (own & (side.near.repeat(CLUSTER) == 0) & (side.opacities > 0)).sum() == 300


def test_padding_draws_nothing_and_holds_safe_values():
    scene = make_scene(cloud(700, size=(20.0, 20.0, 3.0)))
    levels = build_levels(scene, SMALL)
    validate_arena(levels_arena(levels))
    spare = np.asarray(levels.opacities) == 0
    assert 0 < spare.sum() < len(spare)
    assert float(levels.occupancy) == pytest.approx(1 - spare.mean())
    np.testing.assert_array_equal(np.asarray(levels.quaternions)[spare], np.tile([1, 0, 0, 0], (spare.sum(), 1)))
    assert (np.asarray(levels.scales)[spare] == 1).all()
    views = views_at([[-30.0, 0, 1]])
    config = RasterConfig(pairs_per_camera=20000)
    drawn = rasterize(levels_arena(levels), views, backend="xla", config=config)
    bright = levels.replace(sh=jnp.where(spare[:, None, None], 1e3, levels.sh))
    again = rasterize(levels_arena(bright), views, backend="xla", config=config)
    np.testing.assert_array_equal(drawn.rgb, again.rgb)
    assert float(drawn.alpha.max()) > 0.3


def test_what_cannot_be_drawn_is_dropped():
    scene = make_scene(cloud(200), opacities=np.where(np.arange(200) < 50, 0.5 * FAINTEST, 0.5))
    gaussians = scene.gaussians
    # An invalid slot may hold anything.
    broken = gaussians.means.at[60].set(jnp.nan)
    scene = scene.replace(gaussians=gaussians.replace(valid=gaussians.valid.at[60].set(False), means=broken))
    levels = build_levels(scene, SMALL)
    finest = np.repeat(np.asarray(levels.near) == 0, CLUSTER)
    assert ((np.asarray(levels.opacities) > 0) & finest).sum() == 149


@pytest.mark.parametrize("field", ["means", "log_scales", "opacity_logits", "quaternions", "sh"])
def test_not_finite_is_named(field):
    scene = make_scene(cloud(20))
    leaf = getattr(scene.gaussians, field)
    broken = scene.gaussians.replace(**{field: leaf.at[jnp.array([3, 7])].set(jnp.nan)})
    with pytest.raises(ValueError, match=rf"{field} is not finite for 2 of 20"):
        build_levels(scene.replace(gaussians=broken))


def test_nothing_to_draw_is_named():
    scene = make_scene(cloud(20))
    none = scene.gaussians.replace(valid=jnp.zeros(20, bool))
    with pytest.raises(ValueError, match="none of 20 Gaussians is valid"):
        build_levels(scene.replace(gaussians=none))


@pytest.mark.parametrize(
    "bad", [{"finest": 0.0}, {"levels": 0}, {"spread": -1.0}, {"largest_cell": 12}, {"largest_cell": 2}]
)
def test_bad_config_is_named(bad):
    with pytest.raises(ValueError, match=r"is no hierarchy|largest_cell is"):
        LevelsConfig(**bad)


@pytest.mark.parametrize(
    ("means", "scales"),
    [
        (np.array([[1e3, -2e3, 5.0]]), 0.1),  # one, far away
        (np.zeros((300, 3)), 0.1),  # coincident
        (cloud(300), np.array([1e-7, 1e-7, 3.0])),  # needles
        (np.concatenate([cloud(50), [[1e6, 1e6, 1e6]]]), 0.1),  # an outlier
    ],
)
def test_degenerate_scenes_stay_finite(means, scales):
    levels = build_levels(make_scene(means, scales))
    validate_arena(levels_arena(levels))
    assert (np.asarray(levels.scales) > 0).all()
    clusters = levels_arena(levels).clusters
    assert np.isfinite(np.asarray(clusters.radius)).all()
    # All are still to be seen: from every Gaussian's place some level of it is drawn.
    views = views_at(means[:3])
    chosen = np.asarray(chosen_clusters(clusters, views, jnp.float32(3.0)))
    assert (within(means[:3].astype(np.float32), np.asarray(levels.cell)) & chosen).any(axis=1).all()


def test_a_lone_gaussian_is_itself_at_every_level():
    scene = make_scene([[3.0, 4.0, 5.0]], np.array([0.1, 0.2, 0.3]), 0.6)
    levels = jax.device_get(build_levels(scene, SMALL))
    used = levels.opacities > 0
    assert used.sum() == 5
    np.testing.assert_allclose(levels.means[used], np.tile([3.0, 4, 5], (5, 1)), rtol=1e-6)
    np.testing.assert_allclose(levels.scales[used], np.tile([0.1, 0.2, 0.3], (5, 1)), rtol=1e-4)
    np.testing.assert_allclose(levels.opacities[used], 0.6, rtol=1e-5)


def test_higher_harmonics_are_averaged():
    levels = build_levels(make_scene(cloud(400), sh_degree=2), SMALL)
    assert levels.sh.shape[1:] == (9, 3)


def test_building_is_deterministic():
    scene = make_scene(cloud(1000))
    jax.tree.map(np.testing.assert_array_equal, build_levels(scene, SMALL), build_levels(scene, SMALL))


def test_joined_scenes_are_drawn_as_apart():
    scenes = [build_levels(make_scene(cloud(n, seed=n)), SMALL) for n in (300, 900)]
    joined, starts = join_levels(scenes)
    assert starts.tolist() == [0, scenes[0].means.shape[0], joined.means.shape[0]]
    validate_arena(levels_arena(joined, starts))
    config = RasterConfig(pairs_per_camera=20000)
    views = views_at([[-40.0, 0.0, 1.0]])
    together = rasterize(
        levels_arena(joined, starts), views.replace(scene=jnp.array([1])), backend="xla", config=config
    )
    apart = rasterize(levels_arena(scenes[1]), views, backend="xla", config=config)
    np.testing.assert_allclose(together.rgb, apart.rgb, atol=1e-6)  # sums in another order
    assert float(apart.alpha.max()) > 0.3


def test_join_errors_are_named():
    with pytest.raises(ValueError, match="no scenes"):
        join_levels([])
    flat, round_ = (build_levels(make_scene(cloud(50), sh_degree=degree), SMALL) for degree in (0, 1))
    with pytest.raises(ValueError, match=r"\[1, 4\] coefficients"):
        join_levels([flat, round_])
