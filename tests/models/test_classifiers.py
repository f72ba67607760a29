import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.models import classifiers
from interp_jax.models.nets import functional


def sizes(module, shape):
    params = jax.eval_shape(functional(module, jnp.zeros(shape)).init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("module", "shape", "count"),
    [
        (classifiers.WongKolter(), (28, 28, 1), 4 * 4 * 16 + 16 + 16 * 16 * 32 + 32 + 1568 * 100 + 100 + 1010),
        (classifiers.ResNet(), (32, 32, 3), 11_173_962 + 2 * 2400),  # torchvision's CIFAR form; biases of convolutions
    ],
)
def test_parameters_are_those_of_the_papers(module, shape, count):
    assert sizes(module, shape) == count


@pytest.mark.parametrize("module", [classifiers.WongKolter(hidden=12), classifiers.ResNet(width=8, groups=4)])
def test_logits_are_linear_in_the_representation(module, key):
    net, x = functional(module, jnp.zeros((28, 28, 1))), jax.random.uniform(key, (28, 28, 1))
    params = net.init(key)
    last = params["Dense_1" if isinstance(module, classifiers.WongKolter) else "Dense_0"]
    represented = net.apply(params, x, represent=True)
    np.testing.assert_allclose(net.apply(params, x), represented @ last["kernel"] + last["bias"], rtol=1e-4, atol=1e-5)


def test_one_image_and_many_agree(key):
    net = functional(classifiers.ResNet(width=8, groups=4), jnp.zeros((28, 28, 1)))
    params, xs = net.init(key), jax.random.uniform(key, (3, 28, 28, 1))
    together = jax.vmap(net.apply, (None, 0))(params, xs)
    np.testing.assert_allclose(together[1], net.apply(params, xs[1]), rtol=1e-4, atol=1e-5)


def test_a_residual_block_by_hand(key):
    """Identity beside two normalised 3 x 3 convolutions, in numpy."""
    net = functional(classifiers.Residual(4, groups=2), jnp.zeros((5, 5, 4)))
    params, x = net.init(key), np.asarray(jax.random.normal(key, (5, 5, 4)), np.float64)

    def normalised(y):
        groups = y.reshape(5, 5, 2, 2)
        mean, var = groups.mean((0, 1, 3), keepdims=True), groups.var((0, 1, 3), keepdims=True)
        return ((groups - mean) / np.sqrt(var + 1e-6)).reshape(5, 5, 4)

    def conv(y, kernel):
        padded = np.pad(y, ((1, 1), (1, 1), (0, 0)))
        return sum(padded[a : a + 5, b : b + 5] @ kernel[a, b] for a in range(3) for b in range(3))

    kernels = [np.asarray(params[f"Conv_{i}"]["kernel"], np.float64) for i in (0, 1)]
    inner = np.maximum(normalised(conv(x, kernels[0])), 0)
    want = np.maximum(normalised(conv(inner, kernels[1])) + x, 0)
    np.testing.assert_allclose(net.apply(params, jnp.asarray(x, jnp.float32)), want, rtol=1e-4, atol=1e-4)
