"""A peer of the PGD benchmark: foolbox, which runs eagerly, on our Wong-Kolter network, jitted."""

from collections.abc import Callable

import eagerpy
import foolbox
import jax
import jax.numpy as jnp
from worker import serve

from interp_jax.models.classifiers import WongKolter
from interp_jax.models.nets import functional

BATCH, STEPS, EPS = 256, 20, 0.1


def main() -> None:
    """Serve rounds of one attack on a batch."""
    net = functional(WongKolter(), jnp.zeros((28, 28, 1)))

    def make() -> tuple[Callable[[], int], dict]:
        params = net.init(jax.random.key(0))
        xs = jax.random.uniform(jax.random.key(1), (BATCH, 28, 28, 1))
        predict = jax.jit(jax.vmap(lambda x: net.apply(params, x)))
        labels = jnp.argmax(predict(xs), -1)
        model = foolbox.JAXModel(predict, bounds=(0, 1))
        attack = foolbox.attacks.LinfPGD(abs_stepsize=EPS / 4, steps=STEPS, random_start=True)
        images, criterion = eagerpy.astensor(xs), foolbox.criteria.Misclassification(eagerpy.astensor(labels))

        def work() -> int:
            found = attack.run(model, images, criterion, epsilon=EPS)
            jax.block_until_ready(found.raw)
            return BATCH

        return work, {"versions": {"jax": jax.__version__, "foolbox": foolbox.__version__}}

    serve(make)


if __name__ == "__main__":
    main()
