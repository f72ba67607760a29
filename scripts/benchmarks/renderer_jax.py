"""Images a second of the renderers, 64 x 64, in batches of 64 inside a scan, as a training step asks for them."""

import argparse
import time

import jax
import jax.numpy as jnp
from accelerators import accelerator
from worker import serve

from interp_jax.data import dsprites, factors, packed, shapes3d

BATCH, STEPS = 64, 32


def main() -> None:
    """Serve rounds of drawing `BATCH * STEPS` images; each batch is summed, so that none is left undrawn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["dsprites", "packed", "shapes3d"])
    what = parser.parse_args().what
    made = shapes3d.data() if what == "shapes3d" else dsprites.data()
    few = jnp.arange(0, factors.count(made.sizes), 97)

    def make():  # noqa: ANN202
        bits = jax.jit(lambda: packed.pack(made, few))() if what == "packed" else jnp.zeros((1, 1), jnp.uint8)

        def batch(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            classes = factors.sample_factors(key, made.sizes, BATCH)
            if what == "packed":
                rows = jax.vmap(lambda f: factors.index(made.sizes, f))(classes) % bits.shape[0]
                images = jax.vmap(lambda i: packed.lookup(bits, i, made.shape))(rows)
            else:
                images = jax.vmap(made.render)(classes)
            return total + images.sum(), None

        draw = jax.jit(lambda key: jax.lax.scan(batch, 0.0, jax.random.split(key, STEPS))[0])
        started = time.perf_counter()
        compiled = draw.lower(jax.random.key(0)).compile()
        facts = {"compile_seconds": time.perf_counter() - started, "versions": {"jax": jax.__version__}}

        def work() -> int:
            compiled(jax.random.key(0)).block_until_ready()
            return BATCH * STEPS

        return work, facts | {"device": accelerator()}

    serve(make)


if __name__ == "__main__":
    main()
