"""Do the methods learn what they say? On dSprites of 16 x 16 pixels over 8 seeds, and in the committed rows.

The committed rows are those of `experiments/vae_mean_vs_sampled.py quick`, longer runs of the same networks.
"""

import jax
import numpy as np
import pytest

from interp_jax.core.information import gaussian_total_correlation
from interp_jax.core.intervals import paired, student
from interp_jax.data import dsprites, packed, streams
from interp_jax.models import discriminator, vae
from interp_jax.report import records
from interp_jax.train import table
from interp_jax.train.sweep import sweep
from interp_jax.vae import study
from tests import processes

SEEDS, STEPS, SHAPE = 8, 2000, (16, 16, 1)
MODEL = vae.mlp(SHAPE, hidden=(64, 64))


def batch(data, key, t):
    rows = streams.uniform_indices(key, t, data.shape[0], 64)
    return jax.vmap(lambda i: packed.lookup(data, i, SHAPE))(rows)


@pytest.fixture(scope="module")
def data():
    return jax.jit(lambda: packed.pack(dsprites.data(16)))()


def learn(data, method, strengths):
    """Train, and give the total correlation of sampled codes `[seeds, strengths]` and the last quarter's metrics."""
    given = study.Training(
        MODEL, batch, discriminator.mlp(hidden=(64, 64)), steps=STEPS, lr=4e-3, scale=(64 / SHAPE[0]) ** 2
    )
    runs = table.grid({"strength": strengths}, SEEDS)
    done = sweep(study.method(method, given), runs, data, steps=STEPS, chunk=STEPS // 4)
    assert not done.diverged
    images = jax.vmap(lambda i: packed.lookup(data, i, SHAPE))(
        streams.uniform_indices(jax.random.key(1), 0, 737_280, 2000)
    )
    mean, log_var = done.map(lambda state, x: jax.lax.map(lambda one: MODEL.encode(state.params, one), x), images)
    noise = np.exp(np.asarray(log_var, float)).mean(1)
    of_samples = [np.cov(each.astype(float).T) + np.diag(extra) for each, extra in zip(mean, noise, strict=True)]
    cells = {name: values[:, -1].reshape(SEEDS, -1) for name, values in done.history.items()}
    return gaussian_total_correlation(np.stack(of_samples)).reshape(SEEDS, -1), cells


@pytest.mark.slow
def test_beta_4_has_less_total_correlation_in_its_samples_than_beta_1(data):
    correlation, metrics = learn(data, "beta_vae", (1, 4))
    fall = paired(*correlation.T)
    print("total correlation, beta 1 less beta 4:", fall)  # noqa: T201
    assert fall.low > 0
    assert paired(*metrics["kl"].T).low > 0


@pytest.mark.slow
def test_the_discriminator_of_factor_vae_sees_correlation_and_gamma_takes_it_away(data):
    """At gamma 0 the VAE is a plain one: its codes are correlated, and the discriminator must find that out."""
    correlation, metrics = learn(data, "factor_vae", (0, 10))
    fall, estimate = paired(*correlation.T), paired(*metrics["total_correlation"].T)
    accuracy = student(metrics["discriminator_accuracy"])
    print("total correlation, gamma 0 less gamma 10:", fall, "as estimated:", estimate, "accuracy:", accuracy)  # noqa: T201
    assert fall.low > 0
    assert estimate.low > 0
    assert student(metrics["total_correlation"][:, 0]).low > 0
    assert accuracy.low[0] > 0.5
    assert paired(*metrics["discriminator_accuracy"].T).low > 0
    assert student(metrics["discriminator_loss"][:, 0]).high < np.log(2)


@pytest.mark.slow
def test_the_kl_of_annealed_vae_is_its_capacity_within_a_tenth_in_every_run(data):
    _, metrics = learn(data, "annealed_vae", (5, 25))
    share = metrics["kl"] / np.array([[5.0, 25.0]])
    print("KL over capacity:", student(share), "extremes:", share.min(), share.max())  # noqa: T201
    np.testing.assert_allclose(metrics["capacity"], np.broadcast_to([5, 25], share.shape), rtol=1e-5)
    np.testing.assert_allclose(share, 1, atol=0.1)


def test_the_committed_rows_say_the_same():
    """Of the sampled codes at the end of longer runs, over the seeds of the record."""
    rows = records.read(processes.ROOT / "experiments" / "results" / "vae_mean_vs_sampled" / "quick").rows
    assert rows is not None

    def column(name, method, strength):
        chosen = (np.asarray(rows["method"]) == method) & (np.asarray(rows["strength"]) == strength)
        return np.asarray(rows[name], float)[chosen]

    assert len(column("kl", "beta_vae", 1)) >= 8
    assert paired(column("tc_sampled", "beta_vae", 1), column("tc_sampled", "beta_vae", 4)).low > 0
    assert student(column("discriminator_accuracy", "factor_vae", 10)).low > 0.5
    assert student(column("tc_discriminator", "factor_vae", 10)).low > 0
    for capacity in (5, 25, 100):
        np.testing.assert_allclose(column("kl", "annealed_vae", capacity), capacity, rtol=0.1)
