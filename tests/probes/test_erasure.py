import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.linear import svm
from interp_jax.probes import erasure
from tests.oracles import erasure as oracle

leace = jax.jit(erasure.leace)
project = jax.jit(erasure.mean_projection)


def made(seed: int, n: int = 400, d: int = 6, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Make correlated rows far from the origin, and classes that shift them, as one-hot."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, k, n)
    x = (rng.normal(size=(n, d)) + rng.normal(size=(k, d))[classes]) @ rng.normal(size=(d, d)) + 10
    return x.astype(np.float32), np.eye(k, dtype=np.float32)[classes]


def test_leace_is_the_map_of_the_theorem() -> None:
    for seed in range(4):
        x, z = made(seed)
        found = leace(x, z)
        p, b = oracle.leace(x.astype(float), z.astype(float))
        want = x @ p.T + b
        np.testing.assert_allclose(erasure.erase(found, x), want, atol=2e-5 * np.abs(x).max())
        assert int(found.rank) == 2
        assert float(found.left) < 2e-6


def test_rows_may_lie_in_a_subspace_be_fewer_than_features_or_have_no_weight() -> None:
    x, z = made(0)
    flat = np.concatenate([x, x[:, :2] - x[:, 2:4]], 1)  # two features that the others determine
    found = leace(flat, z)
    assert float(found.left) < 1e-5
    p, b = oracle.leace(flat.astype(float), z.astype(float))
    np.testing.assert_allclose(erasure.erase(found, flat), flat @ p.T + b, atol=1e-3)
    wide = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)
    few = leace(wide, np.array([0.0, 1, 1, 0, 1], np.float32))
    gap = erasure.erase(few, wide)
    np.testing.assert_allclose(gap[jnp.array([1, 2, 4])].mean(0), gap[jnp.array([0, 3])].mean(0), atol=1e-5)
    padded = leace(np.concatenate([x, np.full((400, 6), np.nan, np.float32)]), np.concatenate([z, z]),
                   weights=np.repeat([1.0, 0.0], 400))  # fmt: skip
    np.testing.assert_allclose(erasure.erase(padded, x), erasure.erase(leace(x, z), x), atol=1e-4)
    assert np.isnan(leace(np.where(np.arange(400)[:, None] == 3, np.nan, x), z).read).all()


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005, 0.0005])
def test_no_linear_predictor_beats_a_constant_however_rare_the_concept(share: float) -> None:
    rng = np.random.default_rng(1)
    n = 40_000
    y = (np.arange(n) < share * n).astype(np.float32)
    x = (rng.normal(size=(n, 8)) + y[:, None]).astype(np.float32)
    before = oracle.entropy(y) - oracle.logistic_loss(x, y)
    found = leace(x, y)
    clean = np.asarray(erasure.erase(found, x), float)
    assert abs(clean[y > 0].mean(0) - clean[y == 0].mean(0)).max() < 1e-5
    gain = oracle.entropy(y) - oracle.logistic_loss(clean, y)
    assert before > 0.3 * oracle.entropy(y)
    assert abs(gain) < 1e-9


def test_accuracy_may_stay_where_every_loss_is_that_of_a_constant() -> None:
    x = jnp.array([[-2.0], [1.0], [1.0], [2.0], [-1.0], [-1.0]])
    y = np.array([1.0, 1, 1, 0, 0, 0], np.float32)
    found = leace(x, y)
    assert int(found.rank) == 0
    clean = np.asarray(erasure.erase(found, x))
    np.testing.assert_allclose(clean, x, atol=1e-6)
    assert oracle.logistic_loss(clean, y) == pytest.approx(oracle.entropy(y), abs=1e-9)
    assert ((clean[:, 0] > 0) == y).mean() == pytest.approx(2 / 3)


def test_erasure_knows_no_coordinates_and_no_units() -> None:
    x, z = made(3)
    rng = np.random.default_rng(0)
    turn, shift = rng.normal(size=(6, 6)).astype(np.float32), rng.normal(size=6).astype(np.float32)
    plain = erasure.erase(leace(x, z), x) @ turn + shift[None]
    np.testing.assert_allclose(erasure.erase(leace(x @ turn + shift, z), x @ turn + shift), plain, atol=2e-3)
    scaled = erasure.erase(leace(1e-3 * x, 1e-6 * z), 1e-3 * x)
    np.testing.assert_allclose(1e3 * scaled, erasure.erase(leace(x, z), x), atol=1e-3)


def test_leace_changes_least_and_is_idempotent() -> None:
    x, z = made(5)
    one, other = leace(x, z), project(x, z)
    assert int(other.rank) == 2
    assert float(other.left) < 2e-6
    moved = [float(jnp.sum((erasure.erase(e, x) - x) ** 2)) for e in (one, other)]
    assert moved[0] < moved[1]
    once = erasure.erase(one, x)
    np.testing.assert_allclose(erasure.erase(one, once), once, atol=1e-3)
    span = np.linalg.svd(np.asarray(other.read), full_matrices=False)[0][:, :2]
    means = np.stack([x[z[:, k] > 0].mean(0) for k in range(3)])
    inside = means - means.mean(0)
    np.testing.assert_allclose(inside @ span @ span.T, inside, atol=1e-4)


def test_inlp_takes_away_one_classifier_after_another() -> None:
    x, z = made(2, n=300)
    y = z[:, 0]
    found, seen = jax.jit(lambda x, y: erasure.inlp(x, y, rounds=4))(x, y)
    basis = np.asarray(found.read)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-5)
    assert seen.added.tolist() == [1, 1, 1, 1]
    assert float(seen.accuracy[0]) > float(seen.accuracy[-1]) - 0.02
    assert float(seen.accuracy[-1]) < max(y.mean(), 1 - y.mean()) + 0.05
    clean = erasure.erase(found, x)
    np.testing.assert_allclose((clean - found.mean[None]) @ basis, 0, atol=1e-3)


def test_inlp_takes_any_classifier() -> None:
    x, z = made(2, n=120)
    found, seen = erasure.inlp(x, z[:, 0], rounds=1, fit=lambda x, y: svm.fit(x, y, 1.0))
    assert found.read.shape == (6, 1)
    assert seen.accuracy.shape == (1,)


def test_random_directions_are_orthonormal() -> None:
    x, _ = made(0)
    found = erasure.random(jax.random.key(0), x, 3)
    np.testing.assert_allclose(found.write @ found.read, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-5)


def test_correlations_are_numpys() -> None:
    x, z = made(0)
    want = np.corrcoef(x, z, rowvar=False)[:6, 6:]
    np.testing.assert_allclose(erasure.correlation(x, z), want, atol=1e-5)


def test_wrong_ranks_are_refused() -> None:
    x, z = made(0)
    with pytest.raises(ValueError, match="want rank <= 6 features, got rank=7"):
        erasure.random(jax.random.key(0), x, 7)
    with pytest.raises(ValueError, match=r"want rounds \* columns <= 6 features, got 8"):
        erasure.inlp(x, z[:, 0], rounds=8)
