"""What one autoencoder does, in two pictures: reconstructions, and traversals of its latents."""

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core.information import standard_normal_kl
from interp_jax.core.types import Array, PyTree
from interp_jax.models.vae import VAE
from interp_jax.report import figures
from interp_jax.report.records import Picture
from interp_jax.vae import traversals


def look(net: VAE, params: PyTree, images: Array, which: str) -> list[Picture]:
    """Draw `reconstructions` of the images, and `traversals` from the first one's code, latents ordered by their KL.

    images: `[N, H, W, C]`. which: the model, in words, for the captions.
    """
    back = jax.nn.sigmoid(jax.vmap(lambda x: net.decode(params, net.encode(params, x)[0]))(images))
    mean, log_var = net.encode(params, images[0])
    order = np.argsort(-np.asarray(standard_normal_kl(mean, log_var)))
    values = np.linspace(-2, 2, 9)
    moved = traversals.traverse(net.decode, params, mean, jnp.asarray(values))[order]
    both = np.concatenate([images, back])
    return [
        Picture(
            "reconstructions",
            figures.grid(both.squeeze(-1) if both.shape[-1] == 1 else both, title="Images and reconstructions"),
            f"Above: images. Below: decoded from the means of their codes ({which}).",
            "Two rows of pictures, images and their reconstructions.",
        ),
        Picture(
            "traversals",
            figures.traversals(
                moved, title="Latent traversals", rows=[f"z{k}" for k in order], columns=[f"{v:g}" for v in values],
                xlabel="value of the latent, in standard deviations of the prior",
            ),
            f"Each row moves one latent, the others held at an image's mean; most informative first ({which}).",
            "A grid of decoded pictures, one row a latent.",
        ),
    ]  # fmt: skip
