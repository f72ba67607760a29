"""One division of rows: folds, nested ridge against float64 loops, that nothing leaks, and planted states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.probes import coordinates_study as study
from tests.models import languages
from tests.oracles import ridge_paths

FOLDS, BLOCKS = 4, 12
HOW = study.How(
    folds=FOLDS, leads=1, blocks=BLOCKS, early=(0, 3), late=(1, 2, 4, 5), last=2, few=(0, 2), dims=(), epochs=0
)


def made(seed=0, rows=120, width=6):
    """Candidates `[6, N, D]`: the later of two pools' three layers hold the target; blocks move it and are known."""
    rng = np.random.default_rng(seed)
    block = rng.integers(0, BLOCKS, rows)
    told = rng.normal(size=rows)
    y = np.stack([told + rng.normal(size=BLOCKS)[block], rng.normal(size=rows)], 1)
    x = rng.normal(size=(6, rows, width))
    x[[1, 2, 4, 5], :, 0] = told[None] + np.array([0.9, 0.3, 0.9, 0.9])[:, None] * x[[1, 2, 4, 5], :, 0]
    features = {
        "layers": jnp.asarray(x, jnp.float32),
        "region": study.one_hot(block, BLOCKS),
        "spelling": jnp.asarray(rng.normal(size=(1, rows, width)), jnp.float32),
    }
    return study.Rows(features, jnp.asarray(y, jnp.float32), jnp.asarray(block))


@pytest.fixture(scope="module")
def found():
    return jax.jit(study.one_split, static_argnums=0)(HOW, jax.random.key(0), made(rows=600))


def explained(predicted, true):
    return 1 - np.sum((predicted - true) ** 2) / np.sum((true - true.mean(0)) ** 2)


@pytest.mark.parametrize("mask", [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [0, 1, 1, 1, 1]])
def test_the_entity_is_all_but_the_first_and_last_token(mask):
    kept = np.flatnonzero(mask)[1:-1].tolist()
    assert np.flatnonzero(study.entity(jnp.asarray(mask, bool))).tolist() == kept


def test_letters_are_counted_in_runs():
    found = study.spelling(["Oslo", "oslo", "A", "Rio"], 4096)
    assert found.sum(1).tolist() == [9, 9, 3, 7]
    np.testing.assert_array_equal(found[0], found[1])
    assert found.max() == 1
    assert study.spelling(["aaaa"], 4096).max() == 3
    with pytest.raises(ValueError, match="width"):
        study.spelling(["a"], 0)


def test_rows_and_blocks_are_dealt_evenly():
    block = jnp.asarray(np.random.default_rng(0).integers(0, BLOCKS, 130))
    own = study.dealt_folds(jax.random.key(0), 130, FOLDS)
    assert np.bincount(own).tolist() == [33, 33, 32, 32]
    folds = [np.asarray(study.block_folds(jax.random.key(seed), block, BLOCKS, FOLDS)) for seed in range(4)]
    for each in folds:
        assert all(len(np.unique(each[block == b])) == 1 for b in range(BLOCKS))
        assert np.bincount(each).min() > 15
    assert any((each != folds[0]).any() for each in folds)


def test_nested_ridge_is_the_loops():
    rows = made()
    x, y = np.float64(rows.features["layers"][1]), np.float64(rows.y)
    assigned = np.asarray(study.divisions(HOW, jax.random.key(1), rows.block))[1]
    found = jax.jit(study.held_out, static_argnames="folds")(x, y, jnp.asarray(assigned), folds=FOLDS)
    for fold in range(FOLDS):
        out = assigned == fold
        rest, told, ones = x[~out], y[~out], np.ones((~out).sum())
        unit = np.trace(np.cov(rest.T, bias=True)) * len(rest) / x.shape[1]
        alphas = np.array(study.STRENGTHS) * unit
        scores = ridge_paths.r2(ridge_paths.held_out(rest, told, alphas, assigned[~out], ones), told, ones)
        np.testing.assert_allclose(found.inner[fold], scores.max(0), atol=1e-4)
        for k in range(2):
            best = scores[:, k].argmax()
            assert float(found.strength[fold, k]) == pytest.approx(study.STRENGTHS[best], rel=1e-4)
            weight, bias = ridge_paths.fit(rest, told, alphas[best], ones)
            np.testing.assert_allclose(found.predictions[out, k], (x[out] @ weight + bias)[:, k], atol=1e-4)
    assert found.converged.all()


def test_targets_of_a_fold_do_not_reach_its_predictions():
    """Neither through fits nor through the choice of penalties and layers."""
    rows = made()
    assigned = study.divisions(HOW, jax.random.key(0), rows.block)[0]

    @jax.jit
    def run(y):
        held = jax.lax.map(lambda x: study.held_out(x, y, assigned, folds=FOLDS), rows.features["layers"])
        return study.choose(held, assigned, 1, range(6))

    own = (assigned == 2)[:, None]
    before, which = run(rows.y)
    after, other = run(jnp.where(own, 100 * rows.y[::-1], rows.y))
    np.testing.assert_allclose(np.where(own, before, 0), np.where(own, after, 0), atol=1e-3)
    assert which[2] == other[2]
    assert not np.allclose(before, after, atol=1)


def test_the_best_inner_layer_is_chosen_fold_by_fold():
    inner = jnp.asarray([[[0.1, 9], [0.9, 0]], [[0.5, 0], [0.2, 0]], [[0.8, 0], [jnp.nan, 0]]])
    held = study.Held(jnp.broadcast_to(jnp.arange(3.0)[:, None, None], (3, 4, 2)), inner, inner, jnp.ones((3, 2)))
    predictions, best = study.choose(held, jnp.asarray([0, 1, 1, 0]), 1, (0, 1))
    assert best.tolist() == [1, 0]
    assert predictions[:, 0].tolist() == [1, 0, 0, 1]


def test_what_was_planted_is_found(found):
    rows = made(rows=600)
    y = np.asarray(rows.y)[:, :1]
    scores = {name: [explained(each[at][:, :1], y) for at in range(2)] for name, each in found["predictions"].items()}
    assert scores["region"][0] > 0.4 > 0.1 > scores["region"][1]
    for name in ("early", "spelling", "dealt"):
        assert max(scores[name]) < 0.05, name
    assert all(value > 0.25 for value in scores["late"])
    assert set(np.ravel(found["chosen"]["early"]).tolist()) <= {0, 3}
    assert set(np.ravel(found["chosen"]["late"]).tolist()) == {2}
    np.testing.assert_allclose(found["predictions"]["layers"], found["predictions"]["late"])
    every = np.asarray(found["layers"])
    assert every.shape == (2, 6)
    assert (every.argmax(1) == 2).all()
    np.testing.assert_allclose(every[:, 2], scores["late"], atol=1e-4)
    block = np.asarray(rows.block)
    rest = y - np.stack([y[block == b].mean(0) for b in range(BLOCKS)])[block]
    assert explained(np.asarray(found["inside"]["layers"]), rest) > 0.8
    assert explained(np.asarray(found["inside"]["spelling"]), rest) < 0.05


def test_what_is_known_stands_beside_at_its_weight():
    rng = np.random.default_rng(0)
    known, stack = jnp.asarray(rng.normal(size=(1, 50, 2))), jnp.asarray(rng.normal(size=(3, 50, 4)))
    found = study.beside(known, stack, 4.0)
    np.testing.assert_array_equal(found[:, :, 2:], stack)
    sizes = np.var(np.asarray(found), 1)
    np.testing.assert_allclose(sizes[:, :2].sum(1), 4 * sizes[:, 2:].sum(1), rtol=1e-4)


def test_a_probe_of_few_axes_sees_no_more_than_they_hold():
    """The target is along the axis of the largest variance: one principal axis will do, one at random will not."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 4)) * np.array([3, 1, 1, 1])[None]
    y, assigned = x[:, :1] + 0.3 * rng.normal(size=(160, 1)), jnp.arange(160) % 3
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    run = jax.jit(study.curve, static_argnames=("folds", "dims"))
    principal, turned = run(jax.random.key(0), x, y, assigned, folds=3, dims=(1, 4))
    held = jax.jit(study.held_out, static_argnames="folds")(x, y, assigned, folds=3).predictions[::3]
    np.testing.assert_allclose([principal[1], turned[1]], explained(np.asarray(held), np.asarray(y)[::3]), atol=1e-3)
    assert principal[0] > 0.95
    assert turned[0] < 0.9


def test_nets_are_scored_on_the_first_fold():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(500, 3)), jnp.float32)
    assigned = study.dealt_folds(jax.random.key(0), 500, 3)
    run = jax.jit(study.net, static_argnames=("folds", "epochs"))
    rows, predicted = run(jax.random.key(1), x, jnp.abs(x[:, :1]), assigned, folds=3, epochs=60)
    assert sorted(rows.tolist()) == np.flatnonzero(assigned == 0).tolist()
    assert explained(np.asarray(predicted), np.abs(np.asarray(x)[rows, :1])) > 0.5


def test_blocks_must_not_be_fewer_than_folds():
    with pytest.raises(ValueError, match=r"want at least 5 blocks, .* got 2"):
        study.how(languages.small()[0], folds=5, leads=1, blocks=2, dims=(2,), epochs=0)
