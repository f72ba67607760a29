"""Closed forms of infinite width against expectations over Gaussians, and against wide networks."""

import jax
import numpy as np
import pytest

from interp_jax.models.nets import NTKMLP, functional
from interp_jax.ntk import infinite, kernels


@pytest.fixture(autouse=True, scope="module")
def _double():
    with jax.enable_x64(True):
        yield


def test_layer_by_layer_expectations_by_quadrature():
    """E[relu(u) relu(v)] and E[1(u > 0) 1(v > 0)] by integrals over the angle; those over the radius are known."""
    angle = (np.arange(40_000) + 0.5) * 2 * np.pi / 40_000
    x = np.random.default_rng(0).standard_normal((3, 4))
    covariance = 1.6 * x @ x.T / 4 + 0.1
    tangent = covariance
    for _ in range(2):
        smooth, steps = np.empty((3, 3)), np.empty((3, 3))
        for i in range(3):
            for j in range(3):
                u = np.sqrt(covariance[i, i]) * np.cos(angle)
                rho = covariance[i, j] / np.sqrt(covariance[i, i] * covariance[j, j])
                v = np.sqrt(covariance[j, j]) * (rho * np.cos(angle) + np.sqrt(max(1 - rho**2, 0)) * np.sin(angle))
                smooth[i, j] = 2 * np.mean(np.maximum(u, 0) * np.maximum(v, 0))
                steps[i, j] = np.mean((u > 0) & (v > 0))
        covariance = 1.6 * smooth + 0.1
        tangent = covariance + 1.6 * steps * tangent
    found = infinite.relu_mlp(x, layers=2, weight=1.6, bias=0.1)
    np.testing.assert_allclose(found.nngp, covariance, rtol=1e-6)
    np.testing.assert_allclose(found.ntk, tangent, rtol=1e-4)


def net(params, x):
    h = jax.nn.relu(x @ params["w"] * (2 / x.size) ** 0.5)
    return h @ params["v"] * (2 / h.size) ** 0.5


def test_a_wide_network_approaches_its_kernel_as_one_over_the_root_of_its_width():
    """Slope of the log error in log width, for each of 24 seeds; its mean within four standard errors of -1/2."""
    xs = np.random.default_rng(0).standard_normal((6, 5))
    want = np.asarray(infinite.relu_mlp(xs, layers=1).ntk)
    widths, seeds = (16, 128, 1024), 24
    errors = np.empty((len(widths), seeds))
    for i, width in enumerate(widths):

        @jax.jit
        @jax.vmap
        def one(key, width=width):
            w, v = jax.random.split(key)
            params = {"w": jax.random.normal(w, (5, width)), "v": jax.random.normal(v, (width, 1))}
            return kernels.trace(net, params, xs)

        found = np.asarray(one(jax.random.split(jax.random.key(width), seeds)))
        errors[i] = np.linalg.norm(found - want, axis=(1, 2)) / np.linalg.norm(want)
    slopes = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert abs(slopes.mean() + 0.5) < 4 * slopes.std(ddof=1) / np.sqrt(seeds)
    assert slopes.std(ddof=1) < 0.2
    assert errors[-1].mean() < 0.1


def test_networks_in_ntk_parameterisation_have_these_kernels_on_average():
    """Biases and both numbers included; the mean over 200 networks of width 256, within six standard errors of it."""
    xs = np.random.default_rng(0).standard_normal((4, 5))
    want = infinite.relu_mlp(xs, layers=1, weight=1.5, bias=0.3)
    model = functional(NTKMLP((256, 1), weight=1.5, bias=0.3), xs[0])

    @jax.jit
    @jax.vmap
    def one(key):
        params = jax.tree.map(lambda leaf: leaf.astype(xs.dtype), model.init(key))
        outputs = jax.vmap(model.apply, (None, 0))(params, xs)[:, 0]
        return kernels.trace(model.apply, params, xs), outputs[:, None] * outputs[None, :]

    for found, closed in zip(one(jax.random.split(jax.random.key(0), 200)), (want.ntk, want.nngp), strict=True):
        values = np.asarray(found)
        error = values.std(0, ddof=1) / np.sqrt(len(values))
        assert (np.abs(values.mean(0) - np.asarray(closed)) < 6 * error + 1e-9).all()


def test_blocks_zeros_and_equal_inputs():
    xs = np.random.default_rng(0).standard_normal((5, 3))
    whole = infinite.relu_mlp(xs, layers=3, weight=2.0, bias=0.05)
    np.testing.assert_allclose(
        infinite.relu_mlp(xs[:2], xs[2:], layers=3, bias=0.05).ntk, whole.ntk[:2, 2:], rtol=1e-12
    )
    np.testing.assert_allclose(whole.ntk, np.asarray(whole.ntk).T, rtol=1e-12)
    assert np.linalg.eigvalsh(whole.ntk).min() > 0
    zeros = infinite.relu_mlp(np.zeros((2, 3)), layers=2)
    np.testing.assert_allclose(zeros.ntk, 0)
    same = infinite.relu_mlp(np.ones((2, 3)), layers=2).ntk
    np.testing.assert_allclose(same, same[0, 0], rtol=1e-6)
    with pytest.raises(ValueError, match="layers >= 1"):
        infinite.relu_mlp(xs, layers=0)
