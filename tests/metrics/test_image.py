import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxrecon.metrics.image import psnr, ssim


def _pair(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    image = random.uniform(size=shape).astype(np.float32)
    return image, np.clip(image + 0.1 * random.normal(size=shape), 0, 1).astype(np.float32)


def _plain_ssim(image: np.ndarray, reference: np.ndarray) -> float:
    """The textbook formula in float64 with scipy's Gaussian filter, cropped to whole windows."""

    def blur(values: np.ndarray) -> np.ndarray:
        blurred = scipy.ndimage.gaussian_filter(values, (1.5, 1.5, 0), truncate=5 / 1.5)
        return blurred[5:-5, 5:-5]

    x, y = image.astype(np.float64), reference.astype(np.float64)
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return float(np.mean((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))))


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_psnr_of_a_constant_offset_is_minus_twenty_log_of_it(batch):
    image = jnp.full((*batch, 4, 5, 3), 0.3)
    np.testing.assert_allclose(psnr(image, image + 0.01), np.full(batch, 40.0), atol=1e-3)  # float32 of 0.31 - 0.3
    assert np.all(np.isinf(psnr(image, image)))


def test_masked_psnr_ignores_what_lies_outside():
    image, reference = _pair((6, 7, 3))
    mask = np.zeros((6, 7), bool)
    mask[:3] = True
    spoilt = np.where(mask[..., None], image, 1.0 - image)
    np.testing.assert_allclose(psnr(spoilt, reference, mask), psnr(image[:3], reference[:3]), rtol=1e-5)
    assert np.isnan(psnr(image, reference, np.zeros((6, 7), bool)))


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_ssim_agrees_with_scipy(batch):
    image, reference = _pair((*batch, 20, 26, 3))
    pairs = zip(image.reshape(-1, 20, 26, 3), reference.reshape(-1, 20, 26, 3), strict=True)
    expected = np.reshape([_plain_ssim(x, y) for x, y in pairs], batch)
    np.testing.assert_allclose(ssim(image, reference), expected, atol=2e-6)  # variances cancel in float32
    np.testing.assert_allclose(ssim(image, image), np.ones(batch), atol=1e-6)


def test_ssim_of_flat_images_is_its_luminance_term():
    x, y, c1 = 0.2, 0.6, 1e-4
    expected = (2 * x * y + c1) / (x * x + y * y + c1)
    np.testing.assert_allclose(ssim(jnp.full((12, 12, 3), x), jnp.full((12, 12, 3), y)), expected, atol=1e-4)


def test_ssim_gradient_agrees_with_differences():
    image, reference = _pair((13, 12, 3))
    direction = np.random.default_rng(1).normal(size=image.shape)
    gradient = np.sum(np.asarray(jax.grad(ssim)(jnp.asarray(image), reference), np.float64) * direction)
    step = 1e-4
    wide = image.astype(np.float64)
    difference = (_plain_ssim(wide + step * direction, reference) - _plain_ssim(wide - step * direction, reference)) / (
        2 * step
    )
    np.testing.assert_allclose(gradient, difference, rtol=1e-4)


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11 pixels a side; received 10 x 20"):
        ssim(jnp.zeros((20, 10, 3)), jnp.zeros((20, 10, 3)))
