"""Our side of the PGD benchmark: 20 steps in Linf on the Wong-Kolter network, or as many single jitted gradients."""

import argparse
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from accelerators import accelerator
from worker import serve

from interp_jax.adversarial import objectives
from interp_jax.adversarial.pgd import pgd
from interp_jax.models.classifiers import WongKolter
from interp_jax.models.nets import functional

BATCH, STEPS, EPS = 256, 20, 0.1


def main() -> None:
    """Serve rounds of one attack on a batch, every image with a random start."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--single", action="store_true", help="20 calls of one jitted gradient instead")
    options = parser.parse_args()
    net = functional(WongKolter(), jnp.zeros((28, 28, 1)))

    def attack(params: dict, x: jax.Array, label: jax.Array, key: jax.Array, eps: jax.Array) -> jax.Array:
        loss = objectives.cross_entropy(partial(net.apply, params), label)
        return pgd(loss, x, key, eps=eps, step_size=eps / 4, steps=STEPS).x

    def value(x: jax.Array, params: dict, label: jax.Array) -> jax.Array:
        return objectives.cross_entropy(partial(net.apply, params), label)(x).value

    def make() -> tuple[Callable[[], int], dict]:
        params = net.init(jax.random.key(0))
        xs = jax.random.uniform(jax.random.key(1), (BATCH, 28, 28, 1))
        labels = jnp.argmax(jax.vmap(net.apply, (None, 0))(params, xs), -1)
        keys = jax.random.split(jax.random.key(2), BATCH)
        whole = jax.jit(jax.vmap(attack, (None, 0, 0, 0, None)))
        gradient = jax.jit(jax.vmap(jax.grad(value), (0, None, 0)))

        def work() -> int:
            if options.single:
                for _ in range(STEPS):
                    jax.block_until_ready(gradient(xs, params, labels))
            else:
                jax.block_until_ready(whole(params, xs, labels, keys, EPS))
            return BATCH

        return work, {"versions": {"jax": jax.__version__}, "device": accelerator()}

    serve(make)


if __name__ == "__main__":
    main()
