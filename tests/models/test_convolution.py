"""The convolutions: by definition, against `jax.lax`, as each other's adjoint, under every transformation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from interp_jax.models.convolution import conv, conv_transpose
from tests.oracles import convolution as oracle

LAYOUT = ("NHWC", "HWIO", "NHWC")
# shape of the image, of the kernel, channels in and out, stride, padding: every route, odd sizes, oblong kernels
CASES = [
    ((12, 12), (4, 4), (8, 3), 2, "SAME"),  # blocks, shifts after the product
    ((12, 12), (4, 4), (1, 8), 2, "SAME"),  # blocks, shifts before the product
    ((12, 12), (2, 2), (3, 5), 2, "SAME"),  # blocks alone
    ((7, 9), (4, 4), (3, 4), 2, "SAME"),
    ((7, 9), (4, 4), (3, 4), 2, "VALID"),
    ((7, 9), (3, 3), (3, 4), 2, "SAME"),  # the stride does not divide the kernel
    ((7, 9), (3, 3), (2, 3), 1, "SAME"),
    ((7, 9), (3, 3), (4, 2), 1, "VALID"),
    ((6, 7), (5, 2), (2, 3), (3, 1), "SAME"),
    ((6, 7), (1, 3), (3, 2), (1, 3), "VALID"),
    ((7, 9), (1, 1), (3, 4), 2, "SAME"),  # the stride exceeds the kernel
    ((8, 8), (6, 4), (2, 3), (3, 2), ((2, 1), (0, 3))),
    ((8, 8), (3, 5), (3, 2), (2, 2), ((0, 2), (4, 1))),
    ((5, 1), (4, 1), (2, 3), (2, 1), ((1, 1), (0, 0))),
]
pairs = pytest.mark.parametrize("case", CASES, ids=str)


def arrays(case):
    (shape, size, channels, stride, padding) = case
    x, kernel = np.random.default_rng(0), np.random.default_rng(1)
    x = x.normal(size=(*shape, channels[0])).astype(np.float32)
    kernel = kernel.normal(size=(*size, *channels)).astype(np.float32)
    return x, kernel, (stride, stride) if isinstance(stride, int) else stride, padding


def lax_conv(x, kernel, *, stride, padding):
    return lax.conv_general_dilated(x[None], kernel, stride, padding, dimension_numbers=LAYOUT)[0]


def lax_transpose(x, kernel, *, stride, padding):
    return lax.conv_transpose(x[None], kernel[::-1, ::-1], stride, padding, dimension_numbers=LAYOUT)[0]


def close(ours, theirs, roundings=40):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    scale = max(np.abs(theirs).max(), 1.0)
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=roundings * np.finfo(np.float32).eps, rtol=0)


@pairs
def test_conv_is_its_definition(case):
    x, kernel, stride, padding = arrays(case)
    sides = zip(x.shape, kernel.shape, stride, strict=False)
    zeros = {"SAME": [oracle.same(*side) for side in sides], "VALID": [(0, 0)] * 2}
    zeros = zeros[padding] if isinstance(padding, str) else padding
    ours = jax.jit(functools.partial(conv, stride=stride, padding=padding))(x, kernel)
    close(ours, oracle.conv(x, kernel, stride, zeros))


@pairs
def test_conv_transpose_is_its_definition(case):
    x, kernel, stride, padding = arrays(case)
    start, size = [], []
    for axis, (n, k, s) in enumerate(zip(x.shape, kernel.shape, stride, strict=False)):
        if padding == "SAME":  # the convolution from n s places back to n
            start.append(oracle.same(n * s, k, s)[0])
            size.append(n * s)
        elif padding == "VALID":
            start.append(0)
            size.append(n * s + max(k - s, 0))
        else:
            start.append(k - 1 - padding[axis][0])
            size.append((n - 1) * s + 1 + sum(padding[axis]) - (k - 1))
    ours = jax.jit(functools.partial(conv_transpose, stride=stride, padding=padding))(x, kernel)
    close(ours, oracle.conv_transpose(x, kernel, stride, start, size))


def derivatives(f):
    """Value, jvp, vjp, and jvp of vjp of a function of an image and a kernel, in one program."""

    def at(x, kernel, dx, dk):
        def pull(x, kernel):
            y, back = jax.vjp(f, x, kernel)
            return back(jnp.cos(y))  # a cotangent that depends on the point

        return jax.jvp(f, (x, kernel), (dx, dk)), pull(x, kernel), jax.jvp(pull, (x, kernel), (dx, dk))

    return jax.jit(at)


@pytest.mark.parametrize(("ours", "theirs"), [(conv, lax_conv), (conv_transpose, lax_transpose)], ids=["conv", "up"])
@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[5], CASES[11]], ids=str)
def test_derivatives_are_those_of_lax(case, ours, theirs):
    x, kernel, stride, padding = arrays(case)
    kernel = kernel / 8
    rng = np.random.default_rng(2)
    dx, dk = (rng.normal(size=a.shape).astype(np.float32) for a in (x, kernel))
    options = {"stride": stride, "padding": padding}
    mine = derivatives(functools.partial(ours, **options))(x, kernel, dx, dk)
    other = derivatives(functools.partial(theirs, **options))(x, kernel, dx, dk)
    jax.tree.map(functools.partial(close, roundings=200), mine, other)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_transpose_is_the_adjoint(padding):
    rng = np.random.default_rng(3)
    big = rng.normal(size=(12, 8, 3)).astype(np.float32)
    kernel = rng.normal(size=(4, 2, 5, 3)).astype(np.float32)
    down = conv(big, kernel.swapaxes(2, 3), stride=2, padding=padding)
    small = rng.normal(size=down.shape).astype(np.float32)
    up = conv_transpose(small, kernel, stride=2, padding=padding)
    np.testing.assert_allclose(np.vdot(down, small), np.vdot(big, up), rtol=1e-5)


def test_transpose_kernel_of_lax_needs_no_flip():
    x, kernel, stride, padding = arrays(CASES[0])
    theirs = lax.conv_transpose(
        x[None], kernel.swapaxes(2, 3), stride, padding, dimension_numbers=LAYOUT, transpose_kernel=True
    )[0]
    close(conv_transpose(x, kernel, stride=stride, padding=padding), theirs)


def test_negative_zeros_crop():
    x, kernel, stride, _ = arrays(CASES[3])
    padding = ((-1, 2), (1, -2))
    options = {"stride": stride, "padding": padding}
    close(conv(x, kernel, **options), lax_conv(x, kernel, **options))
    close(conv_transpose(x, kernel, **options), lax_transpose(x, kernel, **options))


@pytest.mark.parametrize("f", [conv, conv_transpose])
def test_batched_over_images_kernels_and_both(f):
    rng = np.random.default_rng(4)
    images = jnp.asarray(rng.normal(size=(3, 6, 6, 4)), jnp.float32)
    kernels = jnp.asarray(rng.normal(size=(2, 4, 4, 4, 3)), jnp.float32)
    f = functools.partial(f, stride=2)
    alone = jax.jit(f)
    loop = np.array([[alone(x, k) for x in images] for k in kernels])
    close(jax.vmap(lambda k: jax.vmap(lambda x: f(x, k))(images))(kernels), loop)
    close(jax.vmap(lambda x: jax.vmap(lambda k: f(x, k))(kernels))(images), loop.swapaxes(0, 1))
    close(jax.vmap(lambda x: f(x, kernels[0]))(images), loop[0])
    close(jax.vmap(lambda k: f(images[0], k))(kernels), loop[:, 0])
    close(jax.vmap(f)(images[:2], kernels), loop[[0, 1], [0, 1]])


def products(f, *arguments):
    return [e for e in jax.make_jaxpr(f)(*arguments).eqns if e.primitive.name == "dot_general"]


@pytest.mark.parametrize("f", [conv, conv_transpose])
def test_images_join_the_rows_and_kernels_the_batch(f):
    images, kernels = jnp.ones((5, 6, 6, 4)), jnp.ones((2, 4, 4, 4, 3))
    f = functools.partial(f, stride=2)
    (one,) = products(jax.vmap(f, (0, None)), images, kernels[0])
    assert one.params["dimension_numbers"][1] == ((), ())
    (many,) = products(jax.vmap(jax.vmap(f, (0, None)), (None, 0)), images, kernels)
    assert many.invars[0].aval.size <= 5 * 9 * 9 * 16  # the images are not repeated for each kernel
    (both,) = products(jax.vmap(jax.vmap(f, (0, None))), jnp.stack([images, images]), kernels)
    assert both.params["dimension_numbers"][1] == ((0,), (0,))


@pytest.mark.parametrize("case", [CASES[i] for i in (0, 1, 2, 5, 6, 7)], ids=str)
@pytest.mark.parametrize("f", [conv, conv_transpose])
def test_a_reader_of_the_jaxpr_finds_the_kernel_in_one_product(f, case):
    """Structured derivatives follow a parameter through reshapes to the one product that uses it."""
    x, kernel, stride, padding = arrays(case)
    f = functools.partial(f, stride=stride, padding=padding)
    jaxpr = jax.make_jaxpr(f)(x, kernel).jaxpr
    where, path = jaxpr.invars[1], []
    while not path or path[-1] != "dot_general":
        (user,) = [e for e in jaxpr.eqns if any(v is where for v in e.invars)]
        path.append(user.primitive.name)
        side, where = [v is where for v in user.invars].index(True), user.outvars[0]
    assert side == 1
    padded = f.func is conv_transpose and any(k % s for k, s in zip(kernel.shape, stride, strict=False))
    assert set(path[:-1]) <= {"reshape", "transpose", *(["pad"] if padded else [])}


def test_a_scan_of_gradients_holds_no_convolution(key):
    def step(kernels, x):
        def loss(kernels):
            return jnp.square(conv_transpose(conv(x, kernels[0], stride=2), kernels[1], stride=2)).sum()

        return jax.tree.map(lambda k, g: k - 0.1 * g, kernels, jax.grad(loss)(kernels)), None

    kernels = jnp.ones((2, 4, 4, 3, 5)), jnp.ones((2, 4, 4, 5, 3))
    images = jnp.ones((7, 8, 8, 3))
    text = str(jax.make_jaxpr(jax.vmap(lambda k: jax.lax.scan(step, k, images)[0]))(kernels))
    assert "dot_general" in text
    assert "conv_general_dilated" not in text


def test_computes_in_the_type_of_its_inputs():
    x, kernel = jnp.ones((4, 4, 2), jnp.bfloat16), jnp.ones((2, 2, 2, 3), jnp.bfloat16)
    assert conv(x, kernel, stride=2).dtype == conv_transpose(x, kernel, stride=2).dtype == jnp.bfloat16


@pytest.mark.parametrize("f", [conv, conv_transpose])
@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((4, 4, 3), (2, 2, 2, 5), {}, "one C, got"),
        ((4, 4, 2), (2, 2, 2, 5), {"stride": 0}, "integer stride >= 1, got stride=0"),
        ((4, 4, 2), (2, 2, 2, 5), {"stride": (1, -1)}, "integer stride >= 1, got stride=-1"),
        ((4, 4, 2), (2, 2, 2, 5), {"padding": "FULL"}, "got 'FULL'"),
        ((4, 4, 2), (2, 2, 2, 5), {"padding": (1, 1)}, r"got \(1, 1\)"),
        ((4, 4, 2), (2, 2, 2, 5), {"padding": ((-3, 0), (0, -4))}, "want a"),
    ],
)
def test_refuses_what_does_not_fit(f, x, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        f(jnp.ones(x), jnp.ones(kernel), **options)


def test_a_kernel_larger_than_the_image_needs_zeros():
    with pytest.raises(ValueError, match="want a kernel within the padded image"):
        conv(jnp.ones((3, 3, 1)), jnp.ones((4, 4, 1, 1)), padding="VALID")


def test_ranks_are_checked():
    with pytest.raises(AssertionError):
        conv(jnp.ones((1, 4, 4, 3)), jnp.ones((2, 2, 3, 5)))
