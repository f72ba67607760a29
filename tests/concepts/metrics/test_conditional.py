"""What is recovered of known information, and what is found where there is none."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from interp_jax.concepts import metrics
from interp_jax.concepts.metrics import conditional, predictors
from tests.concepts.metrics import cases
from tests.oracles import concept_metrics as oracle

PRIOR = np.array([0.3, 0.7])  # of each bit of y, given the first concept


def gap(nats):
    """Give how far apart the means of a bit are that tell `nats` of it, given the concepts."""

    def left(gap):
        return np.mean([oracle.binary_information(gap, p) for p in PRIOR]) - nats

    return optimize.brentq(left, 1e-3, 12) if nats else 0.0


def draws(repeats, n, dims, nats, seed=0):
    """Draw y of one bit, or of two where it tells more than a bit can, turned Gaussians that tell of it, and concepts.

    The concepts move the prior of y and the representations, and tell nothing of y through them.
    """
    rng = np.random.default_rng(seed)
    bits = 2 if nats > 0.55 else 1
    c = rng.integers(0, 2, (repeats, n, 2))
    y = rng.random((bits, repeats, n)) < PRIOR[c[..., 0]]
    z = rng.normal(size=(repeats, n, dims))
    for j in range(bits):
        z[..., j] += gap(nats / bits) * (y[j] - 0.5)
    z = z @ np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    z[..., 0] += 2 * c[..., 0] - c[..., 1]
    labels = sum(y[j].astype(np.int32) << j for j in range(bits))
    return z.astype(np.float32), c.astype(np.float32), labels, 2**bits


def leakage(classes, **kind):
    one = lambda z, c, y: metrics.conditional_leakage(z, c, y, classes=classes, **kind)  # noqa: E731
    return jax.jit(jax.vmap(one))


two = leakage(2)  # of [6, 400, 8], one program
SEEDS, ROWS, DIMS = 6, 400, 8


def test_agrees_with_float64():
    z, c, y, _ = draws(SEEDS, ROWS, DIMS, 0.3)
    found = np.transpose(two(z, c, y))
    expected = [oracle.conditional_leakage(*each, 2) for each in zip(z[:1], c[:1], y[:1], strict=True)]
    np.testing.assert_allclose(found[:1], expected, atol=1e-3)


def test_information_is_recovered_and_none_is_none():
    for nats in (0, 0.1, 0.5):
        found = [two(*draws(SEEDS, ROWS, DIMS, nats, seed)[:3]) for seed in (1, 2)]
        for part, slack in (("nats", 0.01), ("held_out", 0.03)):
            values = np.float64([getattr(each, part) for each in found]).ravel()
            assert abs(values.mean() - nats) < 4 * cases.standard_error(values) + slack
        assert all((each.training > each.held_out).all() for each in found)


def test_what_the_concepts_say_is_no_leakage():
    """Hard concepts that are right, however coded, turned or joined by constants; also of a label that is their XOR."""
    _, c, y, _ = draws(SEEDS, ROWS, DIMS, 0.0)
    turn = np.random.default_rng(1).normal(size=(2, 6))
    z = np.concatenate([5 - 10 * c[..., :1], np.ones_like(c[..., :1]), c @ turn], -1).astype(np.float32)
    xor = (c[..., 0] != c[..., 1]).astype(np.int32)
    for labels in (y, xor):
        found = two(z, c, labels)
        for value in found[:3]:
            np.testing.assert_array_equal(value, 0)
    assert (np.abs(two(z, c, xor).entropy) < 0.1).all()  # the penalty leaves some
    noise = np.random.default_rng(2).normal(size=z.shape)
    found = np.asarray(two((z + 0.1 * noise).astype(np.float32), c, xor).nats, float)
    assert (np.abs(found) < 0.01).all()


@pytest.mark.slow
def test_a_level_for_each_combination_knows_xor_and_an_additive_base_does_not():
    _, c, _, _ = draws(SEEDS, ROWS, DIMS, 0.0)
    xor = (c[..., 0] != c[..., 1]).astype(np.int32)
    z = np.concatenate([c, np.prod(c, 2, keepdims=True)], 2)
    assert (leakage(2, base=conditional.additive)(z, c, xor).nats > 0.5).all()
    np.testing.assert_array_equal(leakage(2, base=conditional.pairs)(z, c, xor).nats, 0)
    np.testing.assert_array_equal(two(np.pad(z, ((0, 0), (0, 0), (0, 5))), c, xor).nats, 0)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["covariance", "together"])
def test_a_richer_family_is_seen_by_a_richer_classifier_only(family):
    rng = np.random.default_rng(3)
    _, c, y, _ = draws(6, 800, 1, 0.0)
    z = rng.normal(size=(6, 800, 1))
    if family == "covariance":
        z = z * np.where(y, 3.0, 1.0)[..., None]
        rich = leakage(2, expand=conditional.quadratic)
        at = np.linspace(-40, 40, 100_001)
        narrow, wide = (np.exp(-0.5 * (at / s) ** 2) / s / np.sqrt(2 * np.pi) for s in (1, 3))
        truth = np.mean([_mixture(at, narrow, wide, p) for p in PRIOR])
    else:
        z = z + 1.5 * ((2 * y - 1) * (2 * c[..., 1] - 1))[..., None]
        rich = leakage(2, expand=conditional.by_concept)
        truth = np.mean([oracle.binary_information(3.0, p) for p in PRIOR])
    z = z.astype(np.float32)
    found = np.asarray(rich(z, c, y).nats, float)
    assert abs(found.mean() - truth) < 4 * cases.standard_error(found) + 0.02
    assert np.mean(leakage(2)(z, c, y).nats) < 0.1 * truth


def _mixture(at, zero, one, prior):
    both = (1 - prior) * zero + prior * one
    tiny = 1e-300
    terms = (p * f * np.log((f + tiny) / (both + tiny)) for p, f in ((1 - prior, zero), (prior, one)))
    return np.trapezoid(sum(terms), at)


def test_undefined_and_refused():
    z, c, y, _ = draws(SEEDS, ROWS, DIMS, 0.3)
    spoiled = z.copy()
    spoiled[0, 3, 1] = np.nan
    lone = y.copy()
    lone[1] = 0
    lone[1, 0] = 1  # one row of a class: none to fit in its fold
    lone[2] += 1
    found = two(spoiled, c, lone)
    assert np.isnan(found.nats).tolist() == [True, True, True, False, False, False]
    flat = np.zeros_like(c)  # given concepts that do not vary, nothing is given
    assert (two(z, flat, y).nats > 0.1).all()
    with pytest.raises(ValueError, match=r"want labels in \[0, 2\), got 1 to 2"):
        metrics.conditional_leakage(z[0], c[0], y[0] + 1, classes=2)
    with pytest.raises(ValueError, match="want at most 10 concepts"):
        conditional.cells(jnp.zeros((4, 11)))


def test_the_base_depends_on_how_many_rows_there_are():
    assert conditional._base(1000, 3) is conditional.cells
    assert conditional._base(1000, 12) is conditional.pairs
    assert conditional._base(300, 12) is conditional.additive


# the largest error of the mean of `nats` over draws, for .1, .5 and 1 nat
STATED = {(1000, 1): 0.01, (1000, 4): 0.02, (1000, 16): 0.01, (1000, 64): 0.04, (10_000, 64): 0.01}


@pytest.mark.slow
@pytest.mark.parametrize(("n", "dims"), STATED)
def test_known_information_in_1_to_64_dimensions(n, dims):
    for nats in (0, 0.1, 0.5) + ((1.0,) if dims > 1 else ()):
        z, c, y, classes = draws(40 if n == 1000 else 6, n, dims, nats, seed=dims)
        one = partial(metrics.conditional_leakage, classes=classes)
        found = np.float64(jax.jit(lambda *rows, one=one: jax.lax.map(lambda row: one(*row).nats, rows))(z, c, y))
        assert abs(found.mean() - nats) < 3 * cases.standard_error(found) + (0.005 if nats == 0 else STATED[n, dims])


@pytest.mark.slow
def test_a_network_finds_a_family_it_was_not_told():
    z, c, y, _ = draws(3, 2000, 1, 0.0)
    z = z * np.where(y, 3.0, 1.0)[..., None].astype(np.float32)
    network = predictors.mlp(jax.random.key(0), epochs=30, batch=128, lr=0.01, loss=predictors.exclusive)
    found = leakage(2, predictor=network)(z, c, y)
    assert (found.held_out > 0.1).all()
    assert (two(z, c, y).held_out < 0.02).all()
