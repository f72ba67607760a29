"""The whole protocol on codes with a known answer, and against the metrics one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.core import keys
from interp_jax.data import factors as sets
from interp_jax.vae import metrics
from interp_jax.vae.metrics import protocol

SIZES = (3, 4, 4)
pytestmark = pytest.mark.slow  # compiling all scores takes most of a minute; the study's own test runs them too
HOW = protocol.Protocol(train=600, test=300, votes=500, test_votes=500, labels=(100, 1000))


@pytest.fixture(scope="module")
def found():
    """Scores of five tables of codes, one program: perfect, the same permuted and scaled, mixed, noise, dead."""
    rows = jax.vmap(lambda i: sets.factors(SIZES, i))(jnp.arange(sets.count(SIZES))).astype(jnp.float32)
    perfect = rows - rows.mean(0, keepdims=True)
    turn = jnp.array([[0.6, 0.64, 0.48], [-0.8, 0.48, 0.36], [0.0, -0.6, 0.8]])
    mixed = perfect @ turn
    noise = jax.random.normal(jax.random.key(2), perfect.shape)
    tables = jnp.stack([perfect, -2 * perfect[:, ::-1], mixed, noise, jnp.zeros_like(perfect)])
    spread = jnp.full((5, 1, 1), -9.0).at[4].set(-jnp.inf)  # sd .01: ties of continuous codes have infinite density

    def one(pair):
        table, log_var = pair[0], jnp.broadcast_to(pair[1], pair[0].shape)
        return protocol.scores(metrics.lookup_sampled(table, log_var, SIZES), SIZES, jax.random.key(0), HOW)

    return jax.jit(lambda pairs: jax.lax.map(one, pairs))((tables, spread))


def test_perfect_codes_have_the_best_scores(found):
    for name in ("beta_vae", "factor_vae", "mig", "dci", "dci_completeness", "modularity", "infom", "infoc", "irs"):
        np.testing.assert_allclose(found[name][0], 1, atol=0.06, err_msg=name)
    assert abs(found["total_correlation"][0]) < 0.05  # of 600 independent draws
    assert found["downstream_100"][0] > found["downstream_100"][3]


def test_permutation_sign_and_scale_change_nothing_that_matters(found):
    for name in (
        "factor_vae",
        "mig",
        "dci",
        "modularity",
        "irs",
        "total_correlation",
        "wasserstein",
    ):  # not SAP: margins have units
        np.testing.assert_allclose(found[name][1], found[name][0], atol=0.03, err_msg=name)


def test_mixed_codes_and_noise_score_less(found):
    for name in ("mig", "dci", "infom", "infoc"):
        assert (found[name][jnp.array([2, 3])] < found[name][0] - 0.1).all(), name
    assert found["dci_informativeness"][3] < 0.9 < found["dci_informativeness"][0]  # 48 codes can be learnt by heart


def test_dead_codes_are_undefined_or_at_their_documented_value_never_good(found):
    dead = {name: float(values[4]) for name, values in found.items()}
    assert all(np.isnan(dead[name]) for name in ("factor_vae", "dci", "irs", "infom", "infoc", "wasserstein")), dead
    assert dead["mig"] == dead["modularity"] == 0
    assert set(protocol.SUPERVISED) | set(protocol.UNSUPERVISED) <= set(found)
    assert "downstream_1000" not in found  # more labels than there are points


def test_the_scores_are_those_of_the_metrics_one_by_one(found):
    """On the same factors; codes differ by noise of .01."""
    drawn = sets.sample_factors(keys.stream(jax.random.key(0), "factors"), SIZES, 900)
    rows = jax.vmap(lambda i: sets.factors(SIZES, i))(jnp.arange(48)).astype(jnp.float32)
    table = jax.random.normal(jax.random.key(2), rows.shape)
    codes = table[jax.vmap(lambda f: sets.index(SIZES, f))(drawn)]
    np.testing.assert_allclose(found["mig"][3], metrics.mig(codes[:600], drawn[:600], SIZES).score, atol=0.05)
    pairs = metrics.mean_pairwise_information(codes[:600])  # noise of .01 moves some codes to the next of 20 bins
    np.testing.assert_allclose(found["mean_pairwise_information"][3], pairs, rtol=0.2)
