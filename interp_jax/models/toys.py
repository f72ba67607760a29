"""Toy networks whose features are known, in flax.linen, for ONE example; `data.toys` draws what they are trained on.

`represent=True` gives the hidden activations that principal components and dictionaries are made of.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from interp_jax.core.types import Array
from interp_jax.models.nets import GLOROT, Dense


class Superposition(nn.Module):
    """A toy model of superposition, `x' = ReLU(W' W x + b)` with `W: [hidden, n]` (Elhage et al. 2022, section 2).

    It squeezes the n features of its input through fewer hidden units and has to give them back: feature i has the
    direction `W_i`, column i, and is said to be represented where `|W_i|` is about 1. W begins Glorot uniform, b at
    zero.

    >>> from interp_jax.models.nets import functional
    >>> net = functional(Superposition(2), jnp.zeros(5))
    >>> params = {"weight": jnp.eye(2, 5), "bias": jnp.zeros(5)}
    >>> net.apply(params, jnp.array([1.0, -1.0, 3.0, 0.0, 0.0])).tolist()
    [1.0, 0.0, 0.0, 0.0, 0.0]
    """

    hidden: int
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, represent: bool = False) -> Array:
        """Give the reconstruction `[n]`, or the hidden `W x`, `[hidden]`."""
        weight = self.param("weight", GLOROT, (self.hidden, x.size), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (x.size,), self.param_dtype)
        hidden = weight @ x
        return hidden if represent else nn.relu(hidden @ weight + bias)


class ModularMLP(nn.Module):
    """One hidden layer on a pair of numbers, both one-hot: `V g(U_1 e_a + U_2 e_b)`, no biases (Gromov 2023, eq. 2).

    The square as g is what Gromov's closed form is for: `(cos u + cos v)^2` holds `cos(u + v)`, so that neurons of one
    frequency each compute the sum. Gradient descent finds them, and groks sooner and on more seeds than with a ReLU.

    >>> from interp_jax.models.nets import functional
    >>> net = functional(ModularMLP(7, 16), jnp.zeros(2, int))
    >>> net.apply(net.init(jax.random.key(0)), jnp.array([3, 5])).shape
    (7,)
    """

    modulus: int
    width: int
    activation: Callable[[Array], Array] = jnp.square
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, pair: Array, *, represent: bool = False) -> Array:
        """Give logits `[modulus]` for a pair `[2]` of integers below it, or the hidden activations `[width]`."""
        kinds = {"use_bias": False, "param_dtype": self.param_dtype}
        x = jax.nn.one_hot(pair, self.modulus, dtype=self.param_dtype).reshape(-1)
        hidden = self.activation(Dense(self.width, **kinds)(x))
        return hidden if represent else Dense(self.modulus, **kinds)(hidden)
