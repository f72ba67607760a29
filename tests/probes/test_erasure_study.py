"""One split: rows stay apart, penalties are chosen on rows of their own, planted truth is found and erased."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.data.text import Text
from interp_jax.linear import logistic
from interp_jax.linear.fits import predict
from interp_jax.models import transformer
from interp_jax.models.transformer import Config
from interp_jax.probes import erasure
from interp_jax.probes import erasure_study as study
from tests.oracles import erasure as oracle

HOW = study.How(
    layer=2, rounds=(1, 2), randoms=2, sites=(0, 1), layers=(0, 1), counts=(20, 40), components=4, rows=2000, width=16,
    classes=3,
)  # fmt: skip
CONFIG = Config(
    vocabulary=32, window=8, width=8, layers=2, heads=2, groups=2, size=4, hidden=8, activation=jax.nn.gelu,
    epsilon=1e-6, after=True, causal=False, kinds=2,
)  # fmt: skip


fit_logistic = jax.jit(logistic.fit)
held_out = jax.jit(study.held_out, static_argnames="penalties")
leace = jax.jit(erasure.leace)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_rows_are_dealt_once():
    parts = study.divide(jax.random.key(0), 100)
    assert [len(part) for part in parts] == [50, 25, 12, 13]
    assert sorted(np.concatenate(parts).tolist()) == [*range(100)]


def test_a_constant_gains_nothing_and_what_knows_the_class_gains_its_entropy():
    y = jnp.array([1, 0, 0, 0])
    constant = study.shares(y, 2)
    np.testing.assert_allclose(np.exp(constant[0]), [0.75, 0.25])
    same = study.against_constant(jnp.broadcast_to(constant, (4, 2)), y, constant)
    assert same == (0, 0)
    found = study.against_constant(100 * (2.0 * y[:, None] - 1), y, constant)
    assert float(found.gain) == pytest.approx(oracle.entropy(np.asarray(y)), rel=1e-6)
    assert float(found.above) == pytest.approx(0.25)


def test_accuracy_may_stay_where_no_probe_gains():
    """Means of -2, 1, 1 and 2, -1, -1 agree, so that LEACE has nothing to do, and a threshold is right in 2 of 3."""
    x, y = jnp.array([[-2.0], [1.0], [1.0], [2.0], [-1.0], [-1.0]]), jnp.array([1, 1, 1, 0, 0, 0])
    clean = erasure.erase(leace(x, y.astype(x.dtype)), x)
    assert abs(float(jax.jit(study.on_fitted)(clean, y).gain)) < 1e-6
    assert study.against_constant(clean, y, study.shares(y, 2)).above == pytest.approx(1 / 6)


def test_the_penalty_is_chosen_on_its_own_rows():
    x, y = normal(0, 120, 30), jnp.asarray(np.random.default_rng(1).integers(0, 2, 120))
    x = x.at[:, 0].add(y)
    parts, penalties = study.divide(jax.random.key(2), 120), (0.1, 10.0, 1000.0)
    gains = {}
    for part in ("choose", "test"):
        own = getattr(parts, part)
        rate = float(y[parts.train].mean())
        base = np.mean(np.where(y[own] == 1, np.log(rate), np.log(1 - rate)))
        for alpha in penalties:
            fit = fit_logistic(x[parts.train], y[parts.train], alpha)
            out = np.asarray(predict(fit, x[own])[:, 0])
            gains[part, alpha] = np.mean(np.asarray(y[own]) * out - np.logaddexp(0, out)) - base
    best = max(penalties, key=lambda alpha: gains["choose", alpha])
    found = held_out(x, y, parts, penalties=penalties)
    assert float(found.gain) == pytest.approx(gains["test", best], abs=1e-4)
    assert len({round(gains["test", alpha], 3) for alpha in penalties}) == 3


def test_erasers_in_order_and_how_far_they_move():
    y = jnp.arange(200) % 2
    x = normal(3, 200, 6) * jnp.array([3.0, 1, 1, 1, 1, 1])[None]
    x = x.at[:, 1].add(2.0 * y).at[:, 0].add(x[:, 1])
    fit = jnp.arange(100)
    clean, left = jax.jit(study.erased, static_argnums=0)(HOW, jax.random.key(0), x, y, fit)
    assert HOW.erasers == ("none", "random 0", "random 1", "leace", "projection", "inlp 1", "inlp 2")
    assert clean.shape == (7, 200, 6)
    assert float(left) < 1e-5
    about = np.asarray(x) - np.asarray(x).mean(0)
    wanted = [((each - np.asarray(x)) ** 2).mean() / (about**2).mean() for each in np.asarray(clean)]
    np.testing.assert_allclose(study.moved(x, clean), wanted, rtol=1e-5)
    assert 0 == wanted[0] < wanted[3] < wanted[4]
    rank = [np.linalg.matrix_rank(each - each.mean(0), tol=1e-2) for each in np.asarray(clean)]
    assert rank == [6, 5, 5, 5, 5, 5, 4]
    few = jax.jit(study.by_count, static_argnums=0)(HOW, x, y, fit)
    own = erasure.erase(leace(x[:20], y[:20].astype(x.dtype)), x)
    np.testing.assert_allclose(few[0], own, atol=1e-4)


def test_components_are_white_and_monomials_are_products():
    x = normal(4, 90, 5) @ normal(5, 5, 5) + 3
    fit = jnp.arange(60)
    found = jax.jit(study.whitened, static_argnums=2)(x, fit, 3)
    np.testing.assert_allclose(np.cov(np.asarray(found[fit]), rowvar=False, bias=True), np.eye(3), atol=1e-4)
    assert study.monomials(jnp.array([[2.0, 3.0]])).tolist() == [[2, 3, 4, 6, 9]]


@pytest.mark.slow
def test_what_is_in_variances_only_a_quadratic_probe_finds():
    y = jnp.asarray(np.random.default_rng(6).integers(0, 2, 1200))
    x = normal(7, 1200, 4).at[:, 0].multiply(1 + 3.0 * y)
    parts = study.divide(jax.random.key(1), 1200)
    assert abs(held_out(x, y, parts).gain) < 0.02
    found = jax.jit(lambda x, y: study.beyond_linear(HOW, jax.random.key(0), x, y, parts))(x, y)
    none, leace, quadratic = found["quadratic_held"]
    assert none > 0.08
    assert leace > 0.08
    assert abs(quadratic) < 0.03
    np.testing.assert_allclose(found["quadratic_fitted"][2], 0, atol=1e-3)
    assert found["net_above"][1] > 0.15
    assert found["quadratic_moved"][0] == 0


def test_inside_the_network_what_is_erased_is_erased_there():
    rng = np.random.default_rng(8)
    texts = Text(
        jnp.asarray(rng.integers(0, 32, (60, 5)), jnp.int32), jnp.arange(5)[None] < rng.integers(2, 6, 60)[:, None]
    )
    params = jax.tree.map(lambda leaf: 5 * leaf, transformer.init(jax.random.key(0), CONFIG))
    apply = lambda *given, **more: transformer.forward(CONFIG, *given, **more)  # noqa: E731
    plain = jax.jit(jax.vmap(lambda x: transformer.mean(apply(params, x).states, x.mask)))(texts)
    y = (plain[:, 1, 0] > jnp.median(plain[:, 1, 0])).astype(jnp.float32)
    eraser = leace(plain[:, 1], y)
    found = jax.jit(lambda eraser: study.carried(apply, params, texts, eraser, 1))(eraser)
    np.testing.assert_allclose(found[:, 0], plain[:, 0], atol=1e-5)
    np.testing.assert_allclose(found[:, 1], erasure.erase(eraser, plain[:, 1]), atol=1e-4)
    assert abs(found[:, 2] - plain[:, 2]).max() > 1e-3


def test_rare_concepts_and_the_peers_tolerance():
    """The oracle is the peer's formula: at .05% it leaves the concept as it is, and LEACE does not."""
    how = HOW._replace(rows=10_000, width=6)
    found = jax.jit(lambda key: study.rare(how, key))(jax.random.key(3))
    np.testing.assert_allclose(found["left_fitted"], 0, atol=1e-4)
    assert found["peer_fitted"].round(3).tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(found["gain_after"], 0, atol=1e-4)
    assert (found["gain_before"] > 0.4).all()
    assert (np.diff(found["left_new"]) > 0).all()
    for share, kept in ((0.05, False), (0.0005, True)):
        y = (np.arange(10_000) < share * 10_000).astype(float)
        x = np.random.default_rng(0).normal(size=(10_000, 6)) + 3 * y[:, None] * np.eye(6)[0]
        p, size = oracle.peer(x, y)
        assert float(study.strength(jnp.float32(x), jnp.float32(y))) == pytest.approx(size, rel=1e-3)
        assert (size > study.TOLERANCE) != kept
        left = np.linalg.norm(p @ (x[y > 0].mean(0) - x[y == 0].mean(0)))
        assert (left > 2) == kept
