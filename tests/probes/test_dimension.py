import jax
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA

from interp_jax.linear import ridge
from interp_jax.linear.fits import predict, r2
from interp_jax.probes import dimension

rng = np.random.default_rng(0)
X = (rng.normal(size=(200, 12)) * np.linspace(3, 0.2, 12) @ np.linalg.qr(rng.normal(size=(12, 12)))[0] + 5).astype(
    np.float32
)
AXES = dimension.components(X)


def test_principal_axes_are_scikit_learns() -> None:
    peer = PCA().fit(X.astype(float))
    np.testing.assert_allclose(AXES.variance, peer.explained_variance_ * 199 / 200, rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.asarray(AXES.basis).T @ peer.components_.T), np.eye(12), atol=2e-3)
    np.testing.assert_allclose(np.abs(dimension.first(AXES, X, 3)[:, :3]), np.abs(peer.transform(X)[:, :3]), atol=2e-3)
    weighted = dimension.components(np.concatenate([X, 100 * X]), weights=np.repeat([1.0, 0.0], 200))
    np.testing.assert_allclose(weighted.variance, AXES.variance, rtol=1e-5)


def test_a_probe_needs_the_axes_along_which_its_target_lies() -> None:
    along = np.asarray(dimension.first(AXES, X, 12))
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), np.linalg.norm(X - X.mean(0), axis=1), rtol=1e-4)
    y = jnp.asarray(along[:, 3:4])

    @jax.jit
    def curve(axes: dimension.Axes) -> jax.Array:
        def one(count: jax.Array) -> jax.Array:
            x = dimension.first(axes, jnp.asarray(X), count)
            return r2(predict(ridge.fit(x, y, 1e-3), x), y)[0]

        return jax.lax.map(one, jnp.arange(13))

    np.testing.assert_allclose(curve(AXES), [0, 0, 0, 0] + [1] * 9, atol=1e-3)
    turned = dimension.shuffled(jax.random.key(0), AXES)
    np.testing.assert_allclose(turned.basis.T @ turned.basis, np.eye(12), atol=1e-5)
    np.testing.assert_allclose(turned.variance, np.var(np.asarray(dimension.first(turned, X, 12)), 0), rtol=1e-4)
    found = np.asarray(curve(turned))
    assert 0.01 < found[6] < 0.999
    np.testing.assert_allclose(found[12], 1, atol=1e-3)


def test_fewer_rows_than_features_and_rows_that_are_not_finite() -> None:
    few = dimension.components(X[:5])
    assert few.basis.shape == (12, 5)
    assert float(few.variance[-1]) < 1e-8
    assert np.isnan(dimension.components(np.where(np.arange(200)[:, None] == 0, np.nan, X)).basis).all()
