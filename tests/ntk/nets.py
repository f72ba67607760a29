"""Small models for kernels, in every form in which parameters meet inputs; each is `(apply, params, xs)` in float64."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from interp_jax.models.classifiers import ResNet, WongKolter
from interp_jax.models.nets import CNN, MLP, functional


class Case(NamedTuple):
    apply: Callable
    params: dict
    xs: object


def normal(seed, shape, scale=0.5):
    return scale * jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def double(tree):
    return jax.tree.map(lambda a: a.astype(jnp.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def of_module(module, shape, count=5):
    net = functional(module, jnp.zeros(shape))
    params = double(net.init(jax.random.key(0)))
    moved = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(a.size), a.shape, a.dtype), params)
    return Case(net.apply, moved, normal(1, (count, *shape), 1.0))


def layer_norm(x, scale, bias):
    centred = x - x.mean(-1, keepdims=True)
    unit = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return unit * jnp.broadcast_to(scale, x.shape) + jnp.broadcast_to(bias, x.shape)


def mlp():
    return of_module(MLP((30, 20, 4)), (12,))


def one_output():
    return of_module(MLP((7, 1)), (3,))


def cnn():
    return of_module(CNN(4, (6, 8)), (10, 10, 2))


def wong_kolter():
    return of_module(WongKolter(channels=(4, 6), hidden=12, classes=3), (12, 12, 1), count=3)


def resnet():
    return of_module(ResNet(classes=3, width=8, blocks=(1, 1)), (8, 8, 3), count=3)


def ntk_parameterisation():
    params = {"w": normal(0, (6, 40)), "v": normal(1, (40, 3)), "b": normal(2, (40,))}

    def apply(params, x):
        h = jax.nn.gelu(x @ (params["w"] * (1.5 / 6**0.5)) + 0.1 * params["b"])
        return h @ (params["v"].T / 40**0.5).T

    return Case(apply, params, normal(3, (5, 6)))


def lax_convolutions():
    """Strides, dilations, groups, a transposed convolution, average and max pooling."""
    params = {
        "a": normal(0, (3, 3, 2, 8)), "grouped": normal(1, (3, 2, 2, 12)), "deep": normal(2, (2, 2, 1, 24)),
        "up": normal(3, (3, 3, 24, 4)), "head": normal(4, (4, 3)),
    }  # fmt: skip

    def conv(x, kernel, **options):
        return lax.conv_general_dilated(x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)

    def apply(params, x):
        h = jax.nn.relu(conv(x[None], params["a"], window_strides=(2, 1), padding=((1, 0), (2, 1))))
        h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 1, 1), (1, 1, 1, 1), "SAME")
        h = jnp.tanh(conv(h, params["grouped"], window_strides=(1, 1), padding="SAME", feature_group_count=4))
        h = conv(h, params["deep"], window_strides=(1, 1), padding="VALID", rhs_dilation=(2, 1), feature_group_count=12)
        h = conv(h, params["up"], window_strides=(1, 1), padding=((1, 1), (1, 1)), lhs_dilation=(2, 2))
        return jax.nn.softplus(h[0]).mean((0, 1)) @ params["head"]

    return Case(apply, params, normal(5, (3, 8, 7, 2)))


def channels_first():
    params = {"k": normal(0, (6, 3, 3)), "w": normal(1, (6, 2))}

    def apply(params, x):
        h = lax.conv_general_dilated(x[None], params["k"], (2,), "SAME", dimension_numbers=("NCH", "OIH", "NCH"))
        return jax.nn.relu(h[0]).sum(1) @ params["w"]

    return Case(apply, params, normal(2, (4, 3, 9)))


def pooled():
    """Behind pooling, cotangents are the head's weights times masks: the second convolution's are folded into it."""
    params = {"a": normal(0, (3, 3, 2, 5)), "b": normal(1, (5, 6, 3, 3)), "c": normal(2, (3, 3, 6, 4))}
    params |= {"shift": normal(3, (6,)), "w": normal(4, (4, 3))}

    def apply(params, x):
        x = lax.conv_general_dilated(x[None], params["a"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x)
        x = lax.conv_general_dilated(x, params["b"], (2, 2), "SAME", dimension_numbers=("NHWC", "IOHW", "NCHW"))
        x = jax.nn.relu(x + params["shift"][None, :, None, None])
        x = lax.conv_general_dilated(x, params["c"], (1, 1), "VALID", dimension_numbers=("NCHW", "HWIO", "NCHW"))
        return jax.nn.relu(x[0]).mean((1, 2)) @ params["w"]

    return Case(apply, params, normal(5, (4, 9, 9, 2)))


def transformer(tied=True):
    """Tokens in, one block of attention by einsum, logits by the embedding itself."""
    vocabulary, width, heads, length = 11, 8, 2, 6
    names = ("q", "k", "v")
    params = {name: normal(i, (width, heads, width // heads)) for i, name in enumerate(names)}
    params |= {"o": normal(3, (heads, width // heads, width)), "embed": normal(4, (vocabulary, width))}
    params |= {"up": normal(5, (width, 16)), "down": normal(6, (16, width)), "place": normal(7, (length + 2, width))}
    params |= {
        "scale": 1 + normal(8, (width,)),
        "bias": normal(9, (width,)),
        "unembed": normal(10, (vocabulary, width)),
    }

    def apply(params, tokens):
        x = params["embed"][tokens] + params["place"][: tokens.shape[0]]
        h = layer_norm(x, params["scale"], params["bias"])
        q, k, v = (jnp.einsum("td,dhe->the", h, params[name]) for name in names)
        scores = jnp.einsum("the,she->hts", q, k)
        mask = jnp.tril(jnp.ones((tokens.shape[0],) * 2, bool))
        weights = jax.nn.softmax(jnp.where(jnp.broadcast_to(mask, scores.shape), scores, -1e9))
        x = x + jnp.einsum("hts,she,hed->td", weights, v, params["o"])
        x = x + jax.nn.gelu(layer_norm(x, params["scale"], params["bias"]) @ params["up"]) @ params["down"]
        return x[-1] @ (params["embed"] if tied else params["unembed"]).T

    return Case(apply, params, jax.random.randint(jax.random.key(0), (4, length), 0, vocabulary))


def scanned():
    """Layers stacked and scanned, one matrix that all of them share, and a stack read by its index."""
    params = {
        "stack": normal(0, (4, 6, 6)),
        "bias": normal(1, (4, 6)),
        "shared": normal(2, (6, 6)),
        "two": normal(3, (2, 6, 3)),
    }

    def apply(params, x):
        def layer(h, weights):
            w, b = weights
            return jnp.tanh(w @ h + b + params["shared"] @ h), h.sum()

        h, sums = lax.scan(layer, x, (params["stack"], params["bias"]))
        return h @ params["two"][0] + jnp.sin(h) @ params["two"][1] + sums[:3]

    return Case(apply, params, normal(4, (5, 6)))


def recurrent():
    """A gated recurrence over a sequence, its first state a parameter."""
    params = {
        "gates": normal(0, (3 + 5, 4 * 5)),
        "start": normal(1, (5,)),
        "bias": normal(2, (20,)),
        "head": normal(3, (5, 2)),
    }

    def apply(params, xs):
        def turn(state, x):
            h, c = state
            i, f, g, o = jnp.split(jnp.concatenate([x, h]) @ params["gates"] + params["bias"], 4)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        (h, _), _ = lax.scan(turn, (params["start"], jnp.zeros_like(params["start"])), xs)
        return h @ params["head"]

    return Case(apply, params, normal(4, (4, 7, 3)))


def nested_scans():
    params = {"w": normal(0, (2, 3, 4, 4)), "v": normal(1, (4, 4))}

    def apply(params, x):
        def outer(h, block):
            def inner(h, w):
                return jnp.tanh(w @ h + params["v"] @ h), None

            return lax.scan(inner, h, block)

        return lax.scan(outer, x, params["w"])[0]

    return Case(apply, params, normal(2, (4, 4)))


def applied_twice():
    """A block applied twice, once transposed, once through jit and checkpoint; a matrix in slices."""
    params = {"w": normal(0, (5, 5)), "u": normal(1, (5, 5)), "parts": normal(2, (5, 9)), "a": normal(3, (5, 5))}

    def apply(params, x):
        block = jax.jit(lambda h: jnp.tanh(h @ params["w"]))
        h = jax.checkpoint(block)(block(x))
        h = jnp.sin(params["u"] @ h) + params["u"].T @ x
        h = h + params["a"].reshape(25).reshape(5, 5) @ h @ params["a"]
        one, two = params["parts"][:, :4], params["parts"][:, 4:]
        return jnp.tanh(h @ one)[:3] + (h @ two)[:3]

    return Case(apply, params, normal(4, (4, 5)))


def odd_ones():
    """An unused leaf, integers, a leaf in the output, a leaf before a non-linearity, a merged pair, a stopped one."""
    params = {
        "w": normal(0, (4, 3)), "unused": normal(1, (2,)), "count": jnp.arange(3), "offset": normal(2, (3,)),
        "log": normal(3, (4,)), "left": normal(4, (4, 2)), "right": normal(5, (2, 3)), "stopped": normal(6, (4, 3)),
        "squared": normal(7, (3,)), "gate": normal(8, ()), "masked": normal(9, (4, 3)),
    }  # fmt: skip

    def apply(params, x):
        y = (x * jnp.exp(params["log"])) @ params["w"] + x @ (params["left"] @ params["right"])
        y = y + x @ lax.stop_gradient(params["stopped"]) + params["squared"] ** 2 + params["count"]
        y = y * params["gate"] + x @ (params["masked"] * jnp.asarray([[1.0, 0.0, 1.0]] * 4))
        return jnp.concatenate([y, params["offset"] + 0.0, jnp.cos(y)[:1]])

    return Case(apply, params, normal(10, (4, 4)))


def branches():
    """A branch by platform, a branch by value, a while loop, several inputs in a tree."""
    params = {"w": normal(0, (4, 4)), "v": normal(1, (4, 4)), "u": normal(2, (4, 2))}

    def apply(params, x):
        h = lax.platform_dependent(
            x["a"], params["w"], cpu=lambda a, w: jnp.tanh(w @ a), default=lambda a, w: jnp.tanh(w @ a)
        )
        h = lax.cond(x["b"].sum() > 0, lambda h: params["v"] @ h, lambda h: params["v"].T @ (h * h), h)
        h = lax.fori_loop(0, 3, lambda i, h: jnp.sin(params["w"] @ h), h)
        return (h + x["b"]) @ params["u"]

    return Case(apply, params, {"a": normal(3, (5, 4)), "b": normal(4, (5, 4))})


CASES = {
    case.__name__: case
    for case in (
        mlp, one_output, cnn, wong_kolter, resnet, ntk_parameterisation, lax_convolutions, channels_first, pooled,
        transformer,        scanned, recurrent, nested_scans, applied_twice, odd_ones, branches,
    )
}  # fmt: skip
