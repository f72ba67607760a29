"""The six methods of the study, each trained from one strength (Locatello et al. 2019, table 2 and appendix).

    method          strength                   the study's              what else it fixes
    beta_vae        beta                       1, 2, 4, 6, 8, 16
    annealed_vae    capacity, nats             5, 10, 25, 50, 75, 100   gamma 1000, reached after a third of the steps
    factor_vae      gamma                      10, 20, 30, 40, 50, 100  the discriminator
    dip_vae_i       lambda_od                  1, 2, 5, 10, 20, 50      lambda_d = 10 lambda_od
    dip_vae_ii      lambda_od                  1, 2, 5, 10, 20, 50      lambda_d = lambda_od
    beta_tc_vae     beta                       1, 2, 4, 6, 8, 10        minibatch-weighted, without constants

Strengths weigh nats of a 64 x 64 image. For smaller images `scale` weighs the reconstruction, by (64 / side)^2 to give
each strength the meaning that it has there; Adam takes no notice of the size of a loss.
"""

from collections.abc import Callable
from typing import NamedTuple

import optax

from interp_jax.core import checks
from interp_jax.core.types import Array, ArrayLike, Key, PyTree
from interp_jax.models.nets import Net
from interp_jax.models.vae import VAE
from interp_jax.train.trainer import Loss, Trainer, trainer
from interp_jax.vae import objectives
from interp_jax.vae.factor import factor_vae
from interp_jax.vae.objectives import Likelihood
from interp_jax.vae.total_correlation import beta_tc_vae, unweighted

Batch = Callable[[PyTree, Key, Array], Array]
STRENGTHS: dict[str, tuple[float, ...]] = {
    "beta_vae": (1, 2, 4, 6, 8, 16),
    "annealed_vae": (5, 10, 25, 50, 75, 100),
    "factor_vae": (10, 20, 30, 40, 50, 100),
    "dip_vae_i": (1, 2, 5, 10, 20, 50),
    "dip_vae_ii": (1, 2, 5, 10, 20, 50),
    "beta_tc_vae": (1, 2, 4, 6, 8, 10),
}
"""The methods, and the strengths that the study gave them."""
TITLES = {
    "beta_vae": "beta-VAE", "annealed_vae": "AnnealedVAE", "factor_vae": "FactorVAE", "dip_vae_i": "DIP-VAE-I",
    "dip_vae_ii": "DIP-VAE-II", "beta_tc_vae": "beta-TCVAE",
}  # fmt: skip
"""What the methods are called."""
GAMMA = 1000.0  # of AnnealedVAE


class Training(NamedTuple):
    """What all methods share. batch: `(data, key, t) -> images`. scale: of the reconstruction.

    steps: of the whole run, a third of which AnnealedVAE takes to reach its capacity. lr: Adam's, of both players.
    discriminator: FactorVAE's.
    """

    model: VAE
    batch: Batch
    discriminator: Net
    steps: int
    lr: float = 1e-4
    scale: float = 1.0

    def likelihood(self) -> Likelihood:
        """Give minus the log likelihood of Bernoulli pixels, scaled."""
        return lambda logits, x: objectives.bernoulli(logits, x) * self.scale


def method(name: str, given: Training) -> Callable[[ArrayLike], Trainer]:
    """Make the factory `strength -> Trainer` of a method; strengths may be traced. `state.params` are the VAE's.

    Raises:
        ValueError: an unknown name.
    """
    if name not in STRENGTHS:
        raise ValueError(f"want a method among {[*STRENGTHS]}, got {name!r}")
    checks.whole(1, steps=given.steps)
    checks.positive(lr=given.lr, scale=given.scale)
    if name == "factor_vae":
        return lambda strength: factor_vae(
            given.model, given.discriminator, given.batch, optax.adam(given.lr), optax.adam(given.lr, b1=0.5, b2=0.9),
            gamma=strength, likelihood=given.likelihood(),
        )  # fmt: skip
    batch = objectives.timed(given.batch) if name == "annealed_vae" else given.batch
    return lambda strength: trainer(given.model.init, loss(name, strength, given), batch, optax.adam(given.lr))


def loss(name: str, strength: ArrayLike, given: Training) -> Loss:
    """Make the loss of a method with one player."""
    pair, shared = (given.model.encode, given.model.decode), {"likelihood": given.likelihood()}
    losses: dict[str, Callable[[], Loss]] = {
        "beta_vae": lambda: objectives.beta_vae(*pair, strength, **shared),
        "annealed_vae": lambda: objectives.annealed_vae(
            *pair, gamma=GAMMA, capacity=strength, threshold=given.steps / 3, **shared
        ),
        "dip_vae_i": lambda: objectives.dip_vae_i(*pair, lambda_od=strength, lambda_d=10 * strength, **shared),
        "dip_vae_ii": lambda: objectives.dip_vae_ii(*pair, lambda_od=strength, lambda_d=strength, **shared),
        "beta_tc_vae": lambda: beta_tc_vae(*pair, beta=strength, weights=unweighted, **shared),
    }
    return losses[name]()
