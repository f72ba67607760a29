"""Our side of the VAE benchmark: a sweep's chunk program on the study's network, with ours or XLA's convolutions."""

import argparse

import jax
import jax.numpy as jnp
import optax
from accelerators import accelerator
from jax import lax
from worker import serve

from interp_jax.models import vae
from interp_jax.runs.distributed import use_every_core
from interp_jax.train import meshes, program, table
from interp_jax.train.groups import GroupChain
from interp_jax.train.trainer import trainer
from interp_jax.vae import objectives

BATCH = 64
LAYOUT = ("NHWC", "HWIO", "NHWC")


def lax_conv(x: jax.Array, kernel: jax.Array, *, stride: int, padding: str) -> jax.Array:
    """XLA's convolution of one image."""
    return lax.conv_general_dilated(x[None], kernel, (stride, stride), padding, dimension_numbers=LAYOUT)[0]


def lax_conv_transpose(x: jax.Array, kernel: jax.Array, *, stride: int, padding: str) -> jax.Array:
    """XLA's transposed convolution of one image, with our orientation of the kernel."""
    return lax.conv_transpose(x[None], kernel[::-1, ::-1], (stride, stride), padding, dimension_numbers=LAYOUT)[0]


def main() -> None:
    """Serve rounds of `seeds` times `steps` training steps: one chunk, inside its scan."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1, help="seeds that a device vectorises together")
    parser.add_argument("--lowering", choices=["ours", "lax"], default="ours")
    options = parser.parse_args()
    use_every_core()
    pair = {"convolve": (lax_conv, lax_conv_transpose)} if options.lowering == "lax" else {}
    net = vae.conv(**pair)

    def make(beta: jax.Array) -> program.Trainer:
        loss = objectives.beta_vae(net.encode, net.decode, beta)
        return trainer(net.init, loss, lambda data, key, t: data, optax.adam(1e-4))

    def setup():  # noqa: ANN202
        devices = min(len(jax.devices()), options.seeds // options.batch)
        mesh = meshes.over_runs(devices)
        images = (jax.random.uniform(jax.random.key(9), (BATCH, 64, 64, 1)) < 0.1).astype(jnp.float32)
        data = meshes.place(mesh, images)
        shape = program.Shape(options.seeds, options.batch, options.steps, options.steps)
        built = program.build(make, ["beta"], data, shape, mesh)
        chain = GroupChain(tuple(table.grid({"beta": [4]}, options.seeds)), built, shape, data, mesh)
        state = [chain.start()]

        def work() -> int:
            state[0] = jax.block_until_ready(chain.advance(state[0], 0))
            return options.seeds * options.steps

        facts = {"compile_seconds": built.seconds, "program_bytes": built.bytes, "devices": devices}
        return work, facts | {"versions": {"jax": jax.__version__}, "device": accelerator()}

    serve(setup)


if __name__ == "__main__":
    main()
