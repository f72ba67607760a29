import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core import ranking
from tests.oracles.disentanglement import area

many = jax.jit(jax.vmap(ranking.roc_auc))
one_versus_rest = jax.jit(ranking.roc_auc_one_versus_rest)


def draws(n=200):
    """Scores with and without ties, far from zero, of both signs, with infinities; labels rare and common."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(6, n))
    labels = scores + 2 * rng.normal(size=(6, n)) > np.array([[0.0], [0.0], [3.0], [-3.0], [0.0], [1.0]])
    scores[1] = np.round(scores[1])
    scores[2] = np.round(scores[2], 1) + 1e4
    scores[3, :50] = np.where(np.arange(50) % 2, 0.0, -0.0)
    scores[4, :20], scores[4, 20:40] = np.inf, -np.inf
    scores[5] = labels[5]
    return scores.astype(np.float32), labels


def test_roc_auc_counts_pairs():
    scores, labels = draws()
    with np.errstate(invalid="ignore"):  # inf - inf
        expected = [area(np.nan_to_num(s, posinf=1e9, neginf=-1e9), y) for s, y in zip(scores, labels, strict=True)]
    found = many(scores, labels)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[5] == 1  # exactly, also as numbers instead of booleans
    np.testing.assert_array_equal(many(scores, labels.astype(np.float32)), found)


def test_roc_auc_is_scikit_learn_s():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    scores = np.round(rng.normal(size=(6, 200)), 1).astype(np.float32)
    labels = rng.random((6, 200)) < 0.3
    expected = [metrics.roc_auc_score(y, s) for s, y in zip(scores, labels, strict=True)]
    np.testing.assert_allclose(many(scores, labels), expected, atol=1e-6)


def test_roc_auc_keeps_its_digits_over_many_rows():
    n = 20_000
    labels = np.arange(n) % 2 == 1
    found = jax.jit(ranking.roc_auc)(np.arange(n, dtype=np.float32), labels)
    np.testing.assert_allclose(found, 0.5 + 1 / n, rtol=2e-7)


def test_roc_auc_is_exact_at_its_ends():
    labels = np.arange(200) >= 37
    rising = np.linspace(-1, 1, 200, dtype=np.float32)
    found = many(np.stack([rising, -rising, np.zeros(200), np.full(200, 1e30)] + 2 * [rising]), np.stack(6 * [labels]))
    assert found[:4].tolist() == [1, 0, 0.5, 0.5]


def test_roc_auc_depends_on_order_alone():
    scores, labels = draws()
    plain = many(scores, labels)
    np.testing.assert_array_equal(many(np.arctan(scores / 4).astype(np.float32), labels)[:1], plain[:1])
    np.testing.assert_allclose(many(-scores, labels), 1 - plain, atol=1e-6)
    np.testing.assert_allclose(many(scores, ~labels), 1 - plain, atol=1e-6)
    turn = np.random.default_rng(2).permutation(200)
    np.testing.assert_allclose(many(scores[:, turn], labels[:, turn]), plain, atol=1e-6)


def test_masked_rows_do_not_count_whatever_they_hold():
    scores, labels = draws()
    mask = np.random.default_rng(3).random(scores.shape) < 0.7
    expected = [area(np.clip(s, -1e9, 1e9)[m], y[m]) for s, y, m in zip(scores, labels, mask, strict=True)]
    spoiled = np.where(mask, scores, np.nan)
    both = np.where(mask, labels, np.nan).astype(np.float32)
    found = jax.jit(jax.vmap(lambda s, y, m: ranking.roc_auc(s, y, mask=m)))(spoiled, both, mask)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_roc_auc_is_undefined_without_both_classes_and_for_nan():
    scores, labels = np.tile(np.arange(200, dtype=np.float32), (6, 1)), np.tile(np.arange(200) % 2, (6, 1)) * 1.0
    labels[0], labels[1], labels[2, 5], labels[3, 5] = 0, 1, 0.5, np.nan
    scores[4, 3] = np.nan
    assert np.isnan(many(scores, labels)).tolist() == [True] * 5 + [False]


def test_one_versus_rest_is_roc_auc_of_each_class():
    rng = np.random.default_rng(4)
    scores = np.round(2 * rng.normal(size=(200, 6)), 1).astype(np.float32)  # with ties, and with -0
    scores[:5] = -0.0
    classes = rng.integers(0, 5, 200)
    found = one_versus_rest(scores, classes)
    np.testing.assert_allclose(found, many(scores.T, classes[None] == np.arange(6)[:, None]), atol=1e-6)
    np.testing.assert_allclose(found[:5], [area(scores[:, k], classes == k) for k in range(5)], atol=1e-5)
    assert jnp.isnan(found[5])
