import jax
import numpy as np
import pytest

from interp_jax.concepts import metrics
from tests.oracles import concept_metrics as oracle

rng = np.random.default_rng(0)
C = (rng.random((4, 60, 3)) < 0.5).astype(np.float32)
Z = (rng.normal(size=(4, 60, 5)) + 2 * np.pad(C, ((0, 0), (0, 0), (0, 2)))).astype(np.float32)
matrix = jax.jit(jax.vmap(metrics.similarity_matrix))
separability = jax.jit(jax.vmap(metrics.separability))


def test_similarity_is_the_mean_over_pairs():
    expected = np.stack([oracle.similarity(np.float64(z), c) for z, c in zip(Z, C, strict=True)])
    np.testing.assert_allclose(matrix(Z, C), expected, atol=2e-6)
    off = expected[:, ~np.eye(3, dtype=bool)].mean(1)
    np.testing.assert_allclose(separability(Z, C), 1 - off, atol=2e-6)


def test_right_angles_copies_and_undefined():
    one_hot = np.tile(np.eye(3, dtype=np.float32), (4, 20, 1))
    apart = np.pad(one_hot, ((0, 0), (0, 0), (0, 2))) * (1 + np.arange(60)[None, :, None])
    np.testing.assert_allclose(separability(apart.astype(np.float32), one_hot), 1, atol=1e-6)
    np.testing.assert_allclose(separability(np.ones_like(Z), one_hot), 0, atol=1e-6)
    none = C.copy()
    none[0, :, 1] = 0
    zero = Z.copy()
    zero[1, 4] = 0
    assert np.isnan(separability(zero, none)).tolist() == [True, True, False, False]
    with pytest.raises(ValueError, match="want at least 2 concepts, for a pair, got 1"):
        metrics.separability(Z[0], C[0, :, :1])


def test_rotation_and_length_do_not_matter():
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0].astype(np.float32)
    length = rng.random((4, 60, 1)).astype(np.float32) + 0.1
    np.testing.assert_allclose(matrix(Z @ turn * length, C), matrix(Z, C), atol=2e-6)
