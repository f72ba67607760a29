import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.concepts import metrics
from interp_jax.concepts.metrics import predictors
from tests.oracles import linear

N, FOLDS = 300, 5
rng = np.random.default_rng(0)
Y = rng.integers(0, 3, N)
X = (np.eye(3)[Y] + 0.7 * rng.normal(size=(N, 3))).astype(np.float32)
TASK = (np.eye(3)[Y] + 0.2 * rng.normal(size=(N, 3))).astype(np.float32)
score = jax.jit(jax.vmap(metrics.completeness, (0, None, None)))


def least_squares(x, y, weights):
    root = jnp.sqrt(weights)[:, None]
    weight = jnp.linalg.pinv(root * x) @ (root * y)
    return lambda x: x @ weight


quick = jax.jit(jax.vmap(lambda z, t, y: metrics.completeness(z, t, y, predictor=least_squares), (0, None, None)))


def check(score, outputs):
    """The answer itself is complete; constants say one label, at chance at best."""
    scored = np.arange(N) % FOLDS == FOLDS - 1
    z = (X - X[~scored].mean(0)) / X[~scored].std(0)
    own = np.mean(np.argmax(outputs(z, ~scored), 1)[scored] == Y[scored])
    whole = np.mean(TASK.argmax(1)[scored] == Y[scored])
    chance = np.bincount(Y[scored]).max() / scored.sum()
    spoiled = np.where(np.arange(N)[:, None] == 3, np.nan, X)
    codes = np.stack([X, np.eye(3)[Y], np.ones((N, 3)), spoiled]).astype(np.float32)
    found = score(codes, TASK, Y)
    np.testing.assert_allclose(found.score[0], (own - chance) / (whole - chance), atol=1e-5)
    np.testing.assert_allclose([found.concepts[0], found.model[0], found.chance[0]], [own, whole, chance], rtol=1e-5)
    assert -0.5 < found.score[2] <= 1e-6
    assert np.isnan(found.score).tolist() == [False, False, False, True]
    assert score(codes, np.eye(3, dtype=np.float32)[Y], Y).score[1] == 1


def test_completeness_of_a_given_predictor():
    check(quick, lambda z, rows: z @ np.linalg.lstsq(z[rows], np.eye(3)[Y[rows]], rcond=None)[0])
    with pytest.raises(ValueError, match="want 0 <= labels <= 2"):
        metrics.completeness(X, TASK, Y + 1)


@pytest.mark.slow
def test_completeness_agrees_with_float64():
    def outputs(z, rows):
        weight, bias = linear.softmax(z[rows], np.eye(3)[Y[rows]], 1.0, np.ones(rows.sum()))
        return z @ weight + bias

    check(score, outputs)


@pytest.mark.slow
def test_a_network_finds_what_a_line_does_not():
    """XOR of two concepts: a line has nothing, a network everything."""
    c = rng.integers(0, 2, (N, 2))
    y = c[:, 0] ^ c[:, 1]
    x = np.pad(c, ((0, 0), (0, 1))).astype(np.float32)
    head = predictors.mlp(jax.random.key(0), lr=0.03, batch=64, loss=predictors.exclusive)
    task = np.eye(3, dtype=np.float32)[y]
    assert jax.jit(lambda x: metrics.completeness(x, task, y, predictor=head).score)(x) == 1
    assert score(np.stack([x] * 4), task, y).score[0] < 0.4
