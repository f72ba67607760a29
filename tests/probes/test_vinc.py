"""VINC's matrix against its terms in float64, its direction on planted data, and what one paraphrase says."""

import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.probes import contrast, crc, vinc
from tests.oracles import ccs as oracle

RNG = np.random.default_rng(2)


def planted(wording, count=200, many=4):
    """Truth flips along axis 0. Along axis 1 another feature flips harder, but drawn anew for each paraphrase."""
    y = RNG.integers(0, 2, count)
    flip = np.array([1.0, -1.0])
    x = 0.1 * RNG.normal(size=(count, many, 2, 6))
    x[..., 0] += ((2 * y - 1)[:, None] * flip)[:, None]
    x[..., 1] += wording * RNG.normal(size=(count, many, 1)) * flip
    return x.astype(np.float32), y


def test_the_matrix_is_its_terms():
    x = RNG.normal(size=(30, 3, 2, 6)).astype(np.float32)
    rows = oracle.normalised(x.reshape(90, 2, 6)).reshape(x.shape)
    for variance, negative in ((0.1, 0.5), (1.0, 0.0), (0.0, 1.0)):
        found = vinc.terms_matrix(jnp.asarray(x), variance=variance, negative=negative)
        np.testing.assert_allclose(found, oracle.vinc(rows, variance, negative), atol=2e-6)


def test_rows_of_weight_zero_do_not_enter():
    x = RNG.normal(size=(30, 3, 2, 6)).astype(np.float32)
    found = vinc.terms_matrix(jnp.asarray(x), weights=jnp.asarray(np.arange(30) < 20))
    np.testing.assert_allclose(found, vinc.terms_matrix(jnp.asarray(x[:20])), atol=2e-6)


def test_what_paraphrases_disagree_on_is_left_aside():
    x, y = planted(wording=3.0)
    found = vinc.fit(jnp.asarray(x))
    assert abs(found.weight[0]) > 0.99
    assert found.value > found.next
    flat = x.reshape(-1, 2, 6)
    assert abs(crc.top_component(jnp.asarray(flat)).weight[1]) > 0.99  # which does not know of paraphrases
    right = float(contrast.accuracy(crc.score(found, jnp.asarray(x[:, 0])), jnp.asarray(y)))
    assert max(right, 1 - right) > 0.95


def test_one_paraphrase_is_refused():
    x, _ = planted(1.0)
    for bad in (x[:, :1], x[:, 0]):
        with pytest.raises(ValueError, match="invariance says nothing"):
            vinc.fit(jnp.asarray(bad))
    with pytest.raises(ValueError, match="negative"):
        vinc.fit(jnp.asarray(x), negative=1.5)
