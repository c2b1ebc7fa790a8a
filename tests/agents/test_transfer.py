"""Rank correlation against SciPy's and known orders; disagreement against distributions of known distance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxrecon.agents.outputs import ContinuousOutput, PolicyOutput
from jaxrecon.agents.transfer import action_disagreement, rank_correlation, spearman
from jaxrecon.metrics.closed_loop import Measure

KEY = jax.random.key(0)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_spearman_is_scipys(batch):
    random = np.random.default_rng(0)
    first, second = random.integers(0, 6, (2, *batch, 9)).astype(np.float32)  # few values: many ties
    ours = np.asarray(spearman(jnp.asarray(first), jnp.asarray(second))).reshape(-1)
    pairs = zip(first.reshape(-1, 9), second.reshape(-1, 9), strict=True)
    np.testing.assert_allclose(ours, [scipy.stats.spearmanr(a, b).statistic for a, b in pairs], atol=1e-6)


def test_what_does_not_vary_or_is_not_known_has_no_rank_correlation():
    rising = jnp.arange(4.0)
    assert np.isnan(spearman(jnp.ones(4), rising))
    assert np.isnan(spearman(rising.at[1].set(jnp.nan), rising))


def measures(means: np.ndarray, clips: int, noise: float, seed: int) -> list[Measure]:
    random = np.random.default_rng(seed)
    return [
        Measure((mean + noise * random.normal(size=clips)).astype(np.float32), np.ones(clips, bool)) for mean in means
    ]


def test_the_order_of_policies_that_differ_clearly_is_certain_and_of_equals_is_not():
    scene, means = np.repeat(np.arange(10), 8), np.arange(8.0)
    clear = rank_correlation(measures(means, 80, 0.1, 1), measures(means**2, 80, 0.1, 2), scene, KEY, 500)
    assert clear.mean == clear.low == clear.high == 1
    turned = rank_correlation(measures(means, 80, 0.1, 1), measures(-means, 80, 0.1, 2), scene, KEY, 500)
    assert turned.mean == turned.high == -1
    alike = rank_correlation(measures(0 * means, 80, 1.0, 1), measures(0 * means, 80, 1.0, 2), scene, KEY, 500)
    assert alike.high - alike.low > 0.6
    with pytest.raises(ValueError, match="got 2 and 2 policies; expected the same in both worlds, at least three"):
        rank_correlation(measures(means[:2], 80, 0.1, 1), measures(means[:2], 80, 0.1, 2), scene, KEY)


@jax.tree_util.register_static
class Certain:
    """Puts all on the anchors that the observation names."""

    def __call__(self, observation) -> PolicyOutput:
        logits = [1e4 * jax.nn.one_hot(observation[:, head], 61) for head in range(2)]
        return PolicyOutput(*logits, values=jnp.zeros((len(observation), 4)))


def test_disagreement_of_certain_policies_is_in_metres():
    first = jnp.asarray([[30, 10], [30, 10], [30, 10]])
    second = jnp.asarray([[30, 10], [34, 10], [30, 18]])
    found = action_disagreement(Certain(), first, second)
    np.testing.assert_array_equal(found.differs, [0, 1, 1])
    # Anchors are 0.025 m and 0.25 m apart.
    np.testing.assert_allclose(found.lateral, [0, 0.1, 0], atol=1e-6)
    np.testing.assert_allclose(found.longitudinal, [0, 0, 2.0], atol=1e-5)
    np.testing.assert_allclose(found.total_variation, [0, 0.5, 0.5], atol=1e-6)


def test_policies_without_anchors_are_refused():
    output = ContinuousOutput(mean=jnp.zeros((3, 2)), log_deviation=jnp.zeros((3, 2)), values=jnp.zeros((3, 4)))
    with pytest.raises(TypeError, match="says ContinuousOutput, expected a PolicyOutput"):
        action_disagreement(jax.tree_util.Partial(lambda seen: output), jnp.zeros((3, 1)), jnp.zeros((3, 1)))
