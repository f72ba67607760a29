"""Kernels of every form of model against plain reverse-mode Jacobians in float64, and methods against each other."""

import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.models.nets import functional
from interp_jax.ntk import kernels, methods
from tests.ntk.nets import CASES


@pytest.fixture(autouse=True, scope="module")
def _double():
    with jax.enable_x64(True):
        yield


def jacobians(apply, params, xs):
    """`[N, K, P]`, by jax.jacrev."""
    whole = jax.jit(jax.vmap(jax.jacrev(apply, allow_int=True), (None, 0)))(params, xs)
    leaves = [a for a in jax.tree.leaves(whole) if jnp.issubdtype(a.dtype, jnp.floating)]
    return np.concatenate([np.asarray(a).reshape(*a.shape[:2], -1) for a in leaves], 2)


def close(found, want, share=1e-12):
    np.testing.assert_allclose(found, want, atol=share * np.abs(want).max(), rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_equals_contracted_jacobians(name):
    case = CASES[name]()
    rows = jacobians(*case)
    want = np.einsum("nkp,mlp->nmkl", rows, rows)
    found = np.asarray(jax.jit(lambda params, xs: kernels.empirical(case.apply, params, xs))(case.params, case.xs))
    close(found, want)
    assert np.array_equal(found, found.transpose(1, 0, 3, 2)), "not symmetric bit for bit"
    n, k = found.shape[1:3]
    values = np.linalg.eigvalsh(found.transpose(0, 2, 1, 3).reshape(n * k, n * k))
    assert values[0] >= -8 * n * k * np.finfo(float).eps * values[-1]


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("mlp", "recurrent")]


@pytest.fixture(scope="module", params=["cnn", "transformer", *SLOW])
def case(request):
    return CASES[request.param]()


@pytest.fixture(scope="module")
def rows(case):
    return jacobians(*case)


def test_parts_of_the_kernel(case, rows):
    """Trace, diagonal, pseudo and layers without the whole, with fewer examples on one side."""
    few = jax.tree.map(lambda a: a[:3], case.xs)

    @jax.jit
    def parts(params, xs, few):
        args = case.apply, params, xs, few
        return (
            kernels.empirical(*args), kernels.trace(*args), kernels.diagonal(*args), kernels.pseudo(*args),
            kernels.by_layer(*args),
        )  # fmt: skip

    whole, trace, diagonal, pseudo, layers = parts(case.params, case.xs, few)
    want = np.einsum("nkp,mlp->nmkl", rows, rows[:3])
    close(whole, want)
    close(trace, np.trace(want, axis1=2, axis2=3) / want.shape[2])
    close(diagonal, np.diagonal(want, axis1=2, axis2=3))
    close(pseudo, want.sum((2, 3)) / want.shape[2])
    assert set(layers) == set(case.params)
    close(sum(layers.values()), want)


@pytest.mark.parametrize("method", [methods.jacobian, methods.vector_products])
@pytest.mark.parametrize("reduce", [kernels.empirical, kernels.trace, kernels.diagonal])
def test_methods_agree(case, method, reduce):
    few = jax.tree.map(lambda a: a[:3], case.xs)
    run = jax.jit(
        lambda params, xs, few: (
            reduce(case.apply, params, xs, few, method=method), reduce(case.apply, params, xs, few),
        )
    )  # fmt: skip
    other, ours = run(case.params, case.xs, few)
    close(ours, np.asarray(other))


@pytest.mark.parametrize("reduce", [kernels.empirical, kernels.trace])
def test_independent_of_batches_and_order(case, reduce):
    count = jax.tree.leaves(case.xs)[0].shape[0]
    order = np.random.default_rng(0).permutation(count)
    run = jax.jit(lambda params, xs, size: reduce(case.apply, params, xs, batch_size=size), static_argnums=2)
    whole = np.asarray(run(case.params, case.xs, None))
    batched = np.asarray(run(case.params, case.xs, 3))
    close(batched, whole, 1e-14)
    assert np.array_equal(batched, batched.swapaxes(0, 1).swapaxes(2, 3) if batched.ndim == 4 else batched.T)
    shuffled = run(case.params, jax.tree.map(lambda a: a[order], case.xs), None)
    close(shuffled, whole[order][:, order], 1e-14)
    two_sides = jax.jit(lambda params, xs, ys: reduce(case.apply, params, xs, ys, batch_size=3))
    close(two_sides(case.params, case.xs, jax.tree.map(lambda a: a[:2], case.xs)), whole[:, :2], 1e-14)


def test_seeds_are_an_axis():
    case = CASES["cnn"]()
    several = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), case.params)
    run = jax.jit(jax.vmap(lambda params: kernels.trace(case.apply, params, case.xs)))
    rows = jacobians(case.apply, jax.tree.map(lambda a: a[1], several), case.xs)
    close(run(several)[1], np.einsum("nkp,mkp->nm", rows, rows) / rows.shape[1])


def test_float32_is_close_to_float64(case, rows):
    single = jax.tree.map(lambda a: a.astype(jnp.float32) if a.dtype == jnp.float64 else a, (case.params, case.xs))
    found = jax.jit(lambda params, xs: kernels.empirical(case.apply, params, xs))(*single)
    assert found.dtype == jnp.float32
    close(found, np.einsum("nkp,mlp->nmkl", rows, rows), 1e-5)


def test_one_trace_for_all_parameters():
    case = CASES["mlp"]()
    run = jax.jit(chex.assert_max_traces(lambda params, xs: kernels.trace(case.apply, params, xs), n=1))
    run(case.params, case.xs)
    run(jax.tree.map(lambda a: 2 * a, case.params), case.xs)


def test_wide_network_approaches_its_analytic_kernel():
    """One hidden layer of ReLU in the NTK parameterisation: the distance falls like width^-1/2 (arc-cosine kernels)."""
    xs = np.random.default_rng(0).standard_normal((6, 5))
    norms = np.linalg.norm(xs, axis=1)
    angle = np.arccos(np.clip(xs @ xs.T / np.outer(norms, norms), -1, 1))
    sigma = np.outer(norms, norms) * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    want = sigma + xs @ xs.T * (np.pi - angle) / (2 * np.pi)

    def distance(width, seeds=30):
        def one(key):
            keys = jax.random.split(key)
            params = {"w": jax.random.normal(keys[0], (5, width)), "v": jax.random.normal(keys[1], (width,))}

            def apply(p, x):
                return jax.nn.relu(x @ p["w"])[None] @ p["v"][:, None] / width**0.5

            kernel = kernels.trace(lambda p, x: apply(p, x)[0], params, jnp.asarray(xs))
            return jnp.linalg.norm(kernel - want) / jnp.linalg.norm(want)

        found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), seeds)))
        return np.log(found).mean(), np.log(found).std(ddof=1) / seeds**0.5

    (narrow, a), (wide, b) = distance(64), distance(512)
    slope, error = (wide - narrow) / np.log(8), np.hypot(a, b) / np.log(8)
    assert abs(slope + 0.5) < 3 * error
    assert error < 0.1


def linear(params, x):
    return params["w"] @ x


BAD = {
    "no floats": ({"params": {"w": jnp.ones((2, 3), int)}}, "at least one array of floats"),
    "a tree": ({"apply": lambda params, x: (params["w"] @ x, x)}, "one vector [K]"),
    "a matrix": ({"apply": lambda params, x: params["w"]}, "one vector [K]"),
    "integers": ({"apply": lambda params, x: jnp.argmax(params["w"] @ x)[None]}, "to give floats"),
    "no examples": ({"x1": jnp.ones((0, 3))}, "at least one example"),
    "NaN": ({"x1": jnp.full((2, 3), jnp.nan)}, "want finite entries of x1, got 6"),
    "two shapes": ({"x2": jnp.ones((2, 4))}, "x1 and x2 of one form"),
    "two counts": ({"x1": {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 3))}}, "x1 of one first axis"),
    "batch of none": ({"batch_size": 0}, "batch_size >= 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    given, message = BAD[name]
    good = {"apply": linear, "params": {"w": jnp.ones((2, 3))}, "x1": jnp.ones((2, 3))}
    with pytest.raises(ValueError, match=re.escape(message)):
        kernels.empirical(**(good | given))


def test_batch_statistics_and_chance_are_refused():
    with pytest.raises(ValueError, match="frozen first"):
        kernels.empirical(lambda params, x: (params["w"] @ x, {"mean": x}), {"w": jnp.ones((2, 3))}, jnp.ones((2, 3)))
    net = functional(nn.Sequential([nn.Dense(4), nn.Dropout(0.5, deterministic=True)]), jnp.ones(3))
    params = net.init(jax.random.key(0))
    noisy = nn.Sequential([nn.Dense(4), nn.Dropout(0.5, deterministic=False)])
    with pytest.raises(Exception, match="dropout"):
        kernels.empirical(lambda params, x: noisy.apply({"params": params}, x), params, jnp.ones((2, 3)))


def test_conjugate_kernel():
    case = CASES["mlp"]()
    outputs = np.asarray(jax.vmap(case.apply, (None, 0))(case.params, case.xs))
    close(kernels.nngp(case.apply, case.params, case.xs), outputs @ outputs.T / outputs.shape[1])


def test_a_bias_and_its_kernel_share_one_cotangent():
    """Of the features of an MLP of two hidden layers only h of each layer, and g of both hidden ones, is kept."""
    case = CASES["mlp"]()
    problem = kernels.state(*case, None, "full", lambda path: "all")
    features = jax.eval_shape(methods.structured(problem).features, case.xs)
    assert sorted(leaf.shape for leaf in features) == [(5, 4, 20), (5, 4, 30), (5, 12), (5, 20), (5, 30)]


def test_a_convolution_behind_pooling_runs_once_for_all_outputs():
    case = CASES["pooled"]()
    problem = kernels.state(*case, None, "full", lambda path: "all")
    text = str(jax.make_jaxpr(methods.structured(problem).features)(case.xs))
    assert "f64[4,18,5,5] = conv_general_dilated" in text  # to 3 outputs times 6 channels
