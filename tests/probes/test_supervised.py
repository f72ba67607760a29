"""The net beside what a linear probe can and cannot find; few neurons beside the planted ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear.fits import r2
from interp_jax.probes import supervised

SETTINGS = {"hidden": 32, "epochs": 30, "batch": 32}


def rows(seed, count=512):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6)).astype(np.float32)
    y = np.stack([np.abs(x[:, 0]) * 10 + 50, x[:, 1] - x[:, 2]], 1).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(y)


@pytest.fixture(scope="module")
def fitted():
    """Three seeds at two decays in one program."""

    @jax.jit
    def fit(key, decay):
        return supervised.fit_mlp(*rows(0), rows(1), key, weight_decay=decay, lr=3e-3, **SETTINGS)

    each = jax.vmap(jax.vmap(fit, (None, 0)), (0, None))
    return each(jax.random.split(jax.random.key(0), 3), jnp.array([0.01, 0.3]))


def test_a_net_finds_what_no_linear_probe_can(fitted):
    probes, _ = fitted
    x, y = rows(2)
    scores = jax.vmap(jax.vmap(lambda probe: r2(supervised.predict(probe, x), y)))(probes)
    assert scores.shape == (3, 2, 2)
    assert (scores[:, 0] > 0.9).all()
    design = np.c_[x, np.ones(len(x))]
    linear = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert r2(jnp.asarray(linear), y)[0] < 0.1


def test_the_params_are_those_of_the_least_held_out_loss(fitted):
    probes, info = fitted
    x, y = rows(1)
    found = jax.vmap(jax.vmap(lambda probe: jnp.mean(((supervised.predict(probe, x) - y) / probe.spread[None]) ** 2)))(
        probes
    )
    np.testing.assert_allclose(found, info.loss, rtol=1e-4)
    np.testing.assert_allclose(info.loss, np.nanmin(info.losses, -1), rtol=1e-6)


def test_classes_that_no_linear_probe_tells_apart():
    """Exclusive or: a linear probe is right on half of it."""
    x, x_held, x_new = (rows(seed)[0] for seed in range(3))
    y, held, new = ((each[:, 0] * each[:, 1] > 0).astype(jnp.int32) for each in (x, x_held, x_new))
    fit = jax.jit(
        lambda key: supervised.fit_mlp_softmax(
            50 + 10 * x, y, (50 + 10 * x_held, held), key, classes=2, weight_decay=0.0, lr=1e-2, **SETTINGS
        )
    )
    probe, info = fit(jax.random.key(0))
    logits = supervised.predict(probe, 50 + 10 * x_new)
    assert logits.shape == (512, 2)
    assert jnp.mean(jnp.argmax(logits, 1) == new) > 0.9
    p = np.exp(np.asarray(supervised.predict(probe, 50 + 10 * x_held), np.float64))
    p = p[np.arange(512), np.asarray(held)] / p.sum(1)
    assert float(info.loss) == pytest.approx(-np.log(p).mean(), rel=1e-3)
    assert float(info.loss) == pytest.approx(np.nanmin(info.losses), rel=1e-6)


def test_training_stops_after_patience_epochs_without_improvement():
    x, y = rows(0, 64)
    noise = jax.random.normal(jax.random.key(5), y.shape)
    _, info = jax.jit(
        lambda key: supervised.fit_mlp(x, noise, (x[::-1], noise), key, weight_decay=0.0, lr=1e-2, **SETTINGS)
    )(jax.random.key(0))
    told = np.isfinite(info.losses)
    assert 3 < told.sum() < SETTINGS["epochs"]
    assert (told[: told.sum()]).all()
    assert np.nanargmin(info.losses) == told.sum() - 4


def test_k_sparse_probes_choose_the_planted_neurons():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 12)).astype(np.float32)
    y = (3 * x[:, 4] + x[:, 7] + 0.1 * rng.normal(size=300)).astype(np.float32)
    assigned = jnp.asarray(np.arange(300) % 3)
    found = jax.jit(lambda y: supervised.k_sparse(x, y, assigned, folds=3, most=4))
    scores = found(y)
    np.testing.assert_allclose(scores[:2], [0.9, 0.999], atol=0.03)
    assert scores[3] > 0.995
    assert (found(rng.permutation(y)) < 0.05).all()


def test_bad_arguments_are_named():
    x, y = rows(0, 8)
    with pytest.raises(ValueError, match="hidden=0"):
        supervised.fit_mlp(x, y, (x, y), jax.random.key(0), weight_decay=0.0, hidden=0)
    with pytest.raises(ValueError, match="folds"):
        supervised.k_sparse(x, y[:, 0], jnp.zeros(8, int), folds=1, most=2)
