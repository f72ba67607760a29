"""Losses, gradients and training against float64 by hand; what is found on planted data; what is flagged."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.probes import ccs, contrast
from tests.oracles import ccs as oracle

RNG = np.random.default_rng(0)
KEYS = jax.random.split(jax.random.key(0), 6)


def planted(rng, count=200, width=12, noise=0.3, offset=2.0):
    """Truth lies along one direction, with opposite signs in the two sides; the sides' means differ."""
    y = rng.integers(0, 2, count)
    truth = rng.normal(size=width)
    truth *= 3 / np.linalg.norm(truth)
    sides = np.stack([2 * y - 1, 1 - 2 * y], 1)[..., None] * truth
    about = rng.normal(size=(count, 1, width)) + offset * np.array([[[1.0], [-1.0]]])
    return (sides + about + noise * rng.normal(size=(count, 2, width))).astype(np.float32), y


PAIRS, Y = planted(RNG)
FIT = jax.jit(jax.vmap(ccs.fit, (None, 0)))
FITS = FIT(PAIRS, KEYS)


def test_losses_and_gradients_are_those_by_hand():
    """In float64 to 1e-12, in float32 to 1e-6 of the largest entry."""
    rows = oracle.normalised(PAIRS)
    for dtype, tol in ((np.float64, 1e-12), (np.float32, 1e-6)):
        with jax.enable_x64(dtype == np.float64):
            x = jnp.asarray(rows, dtype)
            for scale in (0.05, 0.5, 3):
                weight, bias = scale * RNG.normal(size=12), 0.3

                def value(params, x=x):
                    p = jax.nn.sigmoid(jnp.einsum("nsd,d->sn", x, params[0], precision="highest") + params[1])
                    return sum(ccs.losses(*p))

                params = jnp.asarray(weight, dtype), jnp.asarray(bias, dtype)
                own = [np.asarray(each, np.float64) for each in params]
                found, slope = jax.value_and_grad(value)(params)
                want = np.append(*oracle.gradient(*own, rows))
                np.testing.assert_allclose(found, oracle.loss(*own, rows), rtol=tol)
                np.testing.assert_allclose(np.append(*slope), want, atol=tol * max(np.abs(want).max(), 0.1))


def test_the_oracles_gradient_is_the_slope_of_its_loss():
    rows, weight, bias = oracle.normalised(PAIRS[:20]), RNG.normal(size=12), 0.1
    found = np.append(*oracle.gradient(weight, bias, rows))
    steps = 1e-6 * np.eye(13)
    slopes = [
        (oracle.loss(weight + h[:-1], bias + h[-1], rows) - oracle.loss(weight - h[:-1], bias - h[-1], rows)) / 2e-6
        for h in steps
    ]
    np.testing.assert_allclose(found, slopes, atol=1e-8)


@pytest.mark.parametrize("rate", [1e-3, 1e-2])
def test_training_is_adamw_by_hand(rate):
    """The parameters, and so the gradient that `fit` makes with its own products, after 25 steps in float64."""
    with jax.enable_x64(True):
        found = ccs.fit(jnp.asarray(PAIRS, jnp.float64), KEYS[0], steps=25, lr=rate)
        begin = ccs.LINEAR.init(KEYS[0], 12)
    rows = oracle.normalised(PAIRS)
    weight, bias = oracle.adamw(*(np.asarray(leaf, np.float64).ravel() for leaf in begin), rows, 25, lr=rate)
    np.testing.assert_allclose(found.params.weight[0], weight, atol=1e-9)
    np.testing.assert_allclose(found.params.bias[0], bias[0] if np.ndim(bias) else bias, atol=1e-9)
    np.testing.assert_allclose(found.loss, oracle.loss(weight, np.ravel(bias)[0], rows), atol=1e-9)


def test_truth_is_found_up_to_a_sign_on_held_out_pairs():
    held, y = planted(np.random.default_rng(0), count=400)  # the same directions: the rows of FITS come first
    scores = jax.vmap(lambda found: ccs.credence(found, jnp.asarray(held[200:])) - 0.5)(FITS)
    right = np.array([contrast.accuracy(score, jnp.asarray(y[200:])) for score in scores])
    assert (np.maximum(right, 1 - right) > 0.5).all()


def test_every_restart_comes_with_its_loss_and_none_is_degenerate():
    assert FITS.loss.shape == (6,)
    np.testing.assert_allclose(FITS.loss, FITS.consistency + FITS.confidence, rtol=1e-6)
    assert not FITS.degenerate.any()
    assert ccs.lowest(FITS) == np.argmin(FITS.loss)
    rows = oracle.normalised(PAIRS)
    for i in (0, 3):
        weight, bias = np.asarray(FITS.params.weight[i, 0], float), float(FITS.params.bias[i, 0])
        np.testing.assert_allclose(FITS.loss[i], oracle.loss(weight, bias, rows), atol=1e-6)


def test_a_restart_alone_is_the_restart_among_others():
    alone = jax.jit(ccs.fit)(PAIRS, KEYS[2])
    np.testing.assert_allclose(alone.params.weight, FITS.params.weight[2], atol=2e-5)


def test_swapping_the_sides_mirrors_the_credence():
    """The loss is symmetric, so the same parameters fit; the credence turns about 1/2."""
    first = jax.tree.map(lambda leaf: leaf[0], FITS)
    turned = first._replace(normal=jax.tree.map(lambda leaf: leaf[::-1], first.normal))
    own, other = ccs.credence(first, PAIRS), ccs.credence(turned, PAIRS[:, ::-1])
    np.testing.assert_allclose(own, 1 - other, atol=1e-6)


def test_adding_a_constant_to_a_side_changes_nothing():
    """Without separate centring the sides' difference alone would be consistent and confident."""
    moved = FIT(PAIRS + np.array([[[4.0], [-1.0]]], np.float32), KEYS)
    np.testing.assert_allclose(moved.loss, FITS.loss, rtol=1e-3)


def test_rows_of_weight_zero_do_not_enter():
    weights = jnp.asarray(np.arange(200) < 150)
    fit = jax.jit(ccs.fit, static_argnames="steps")
    with jax.enable_x64(True):
        x = jnp.asarray(PAIRS, jnp.float64)
        masked, own = fit(x, KEYS[0], weights=weights, steps=40), fit(x[:150], KEYS[0], steps=40)
    np.testing.assert_allclose(masked.params.weight, own.params.weight, atol=1e-10)
    np.testing.assert_allclose(masked.normal.mean, own.normal.mean, atol=1e-12)


def test_a_held_out_pair_is_judged_alone_unless_asked_otherwise():
    first = jax.tree.map(lambda leaf: leaf[0], FITS)
    few, many = ccs.credence(first, PAIRS[:5]), ccs.credence(first, PAIRS[:50])[:5]
    np.testing.assert_allclose(few, many, atol=1e-6)
    moved = [ccs.transductive(first, PAIRS[:n])[:5] for n in (5, 50)]
    assert np.abs(moved[0] - moved[1]).max() > 1e-3
    np.testing.assert_allclose(ccs.transductive(first, PAIRS), ccs.credence(first, PAIRS), atol=1e-6)


def test_pairs_without_a_feature_leave_a_probe_undecided_and_flagged():
    """Both statements alike: p+ = p- = p, and (2 p - 1)^2 + p^2 is least, 1/5, at 2/5."""
    same = np.repeat(RNG.normal(size=(200, 1, 12)).astype(np.float32), 2, 1)
    found = FIT(same, KEYS)
    assert found.undecided.all()
    assert found.degenerate.all()
    np.testing.assert_allclose(found.loss, 0.2, atol=2e-3)


def test_one_that_tells_one_row_from_all_others_is_constant():
    lone = 0.01 * RNG.normal(size=(200, 2, 12)).astype(np.float32)
    first = jax.tree.map(lambda leaf: leaf[0], FITS)._replace(params=ccs.Linear(jnp.eye(1, 12), jnp.zeros(1)))
    lone[:, 0, 0], lone[:, 1, 0] = 3, -3
    lone[0, :, 0] = -3, 3
    rows, share = jnp.asarray(lone), jnp.full(200, 1 / 200)
    terms = ccs.Loss(jnp.array(0.1), jnp.array(0.1))
    told = ccs._described(ccs.LINEAR, first.params, first.normal, rows, share, terms, 0.05)
    assert told.constant
    assert not told.undecided
    assert not ccs._described(ccs.LINEAR, first.params, first.normal, rows, share, terms, 0.001).constant


def test_nan_under_jit_is_not_finite_and_is_not_chosen():
    bad = jax.jit(ccs.fit)(PAIRS * np.float32(np.nan), KEYS[0])
    assert not bad.finite
    assert bad.degenerate
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), bad, jax.tree.map(lambda leaf: leaf[0], FITS))
    assert ccs.lowest(both) == 1


@pytest.mark.parametrize(
    ("pairs", "settings", "words"),
    [
        (PAIRS[:, :1], {}, "aligned"),
        (PAIRS[:, 0], {}, "aligned"),
        (PAIRS[:1], {}, "N >= 2"),
        (PAIRS * np.nan, {}, "finite"),
        (PAIRS, {"lr": 0}, "lr"),
        (PAIRS, {"decay": -1}, "decay"),
        (PAIRS, {"steps": 0}, "steps"),
    ],
)
def test_bad_values_are_named(pairs, settings, words):
    with pytest.raises(ValueError, match=words):
        ccs.fit(pairs, KEYS[0], **settings)


def test_step_sizes_share_one_program():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def fit(lr, decay):
        return ccs.fit(PAIRS, KEYS[0], lr=lr, decay=decay, steps=20).loss

    found = [float(fit(lr, decay)) for lr in (1e-3, 1e-2) for decay in (0.0, 0.1)]
    assert len(set(found)) == 4


def test_the_other_probe_trains_too():
    fit = jax.jit(lambda key: ccs.fit(PAIRS, key, probe=ccs.mlp(8), steps=300, lr=1e-2))
    found = fit(KEYS[0])
    assert found.loss < 0.2
    score = ccs.credence(found, PAIRS, probe=ccs.mlp(8)) - 0.5
    assert score.shape == (200,)
    params = jax.tree.map(np.asarray, found.params)
    rows = oracle.normalised(PAIRS)[0, 0]
    unit = np.maximum(params[0].weight @ rows + params[0].bias, 0)
    p = oracle.sigmoid(params[1].weight @ unit + params[1].bias)
    rows = contrast.normalise(jnp.asarray(PAIRS), found.normal)
    np.testing.assert_allclose(ccs._probabilities(ccs.mlp(8), found.params, rows)[0, 0], p[0], atol=1e-5)
