"""The networks of the strength comparison: which they are, their training by a sweep, their weights as npz."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import strength_units as units

from interp_jax.adversarial import norms, training
from interp_jax.adversarial.norms import Norm
from interp_jax.core.types import Array
from interp_jax.data import streams
from interp_jax.data.images import Labelled, Split
from interp_jax.models.classifiers import WongKolter
from interp_jax.models.nets import CNN, MLP, Net, functional
from interp_jax.train import table
from interp_jax.train.sweep import Sweep, sweep
from interp_jax.train.trainer import Trainer, trainer

NORMS: dict[str, Norm] = {"linf": norms.linf, "l2": norms.l2}
Ball = tuple[str, float]
"""A norm's name and a radius."""


class Network(NamedTuple):
    """A network and its training. architecture: mlp, cnn or wong-kolter. trained: in which ball, None for without."""

    name: str
    architecture: str
    trained: Ball | None


class Setting(NamedTuple):
    """What is compared.

    data: of `images.by_name`. rows: how many test images a unit has. steps, chunk, batch, lr: of training.
    """

    data: str
    networks: tuple[Network, ...]
    balls: tuple[Ball, ...]
    attacks: tuple[str, ...]
    rows: int
    steps: int
    chunk: int
    batch: int
    lr: float


def model(architecture: str, data: str) -> Net:
    """Make a network's functions."""
    example = jnp.zeros((8, 8, 1) if data == "digits" else (28, 28, 1))
    widths = (128, 128, 10) if data == "digits" else (256, 10)
    modules = {"mlp": MLP(widths), "cnn": CNN(10), "wong-kolter": WongKolter()}
    return functional(modules[architecture], example)


def train(setting: Setting, network: Network, seeds: int, examples: Labelled, out: Path) -> Sweep:
    """Train one network, all seeds; rerunning resumes."""
    net = model(network.architecture, setting.data)
    loss = training.standard(net.apply)
    if network.trained is not None:
        norm, eps = network.trained
        perturb = training.by_pgd(eps=eps, step_size=eps / 3, steps=7, norm=NORMS[norm])
        loss = training.adversarial(net.apply, perturb)

    def make(lr: Array) -> Trainer:
        return trainer(net.init, loss, streams.batches(setting.batch), optax.adam(lr))

    return sweep(
        make, table.grid({"lr": [setting.lr]}, seeds), (jnp.asarray(examples.images), jnp.asarray(examples.labels)),
        steps=setting.steps, chunk=setting.chunk, width=1,
        config={"network": list(network), "data": setting.data, "batch": setting.batch},
        out=out / "runs" / network.name,
    )  # fmt: skip


def weights(setting: Setting, network: Network, seeds: int, data: Split, out: Path) -> list[Path]:
    """Give the files of a network's weights by path, one a seed; train what is missing."""
    paths = [out / "weights" / f"{network.name}--seed-{seed}.npz" for seed in range(seeds)]
    if not all(path.exists() for path in paths):
        done = train(setting, network, seeds, data.train, out)
        if done.diverged:
            raise ValueError(f"training of {network.name} diverged: {done.diverged}")
        for path, run in zip(paths, done.runs, strict=True):
            units.write(path, **flat(done.state(run).params))
    return paths


def flat(params: dict) -> dict[str, np.ndarray]:
    """Name leaves by their path: "Dense_0/kernel"."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {"/".join(str(key.key) for key in path): np.asarray(leaf) for path, leaf in leaves}


def nested(path: Path) -> dict:
    """Read weights back into the form of the network's params."""
    params: dict = {}
    with np.load(path, allow_pickle=False) as found:
        for name in found.files:
            layer, kind = name.split("/")
            params.setdefault(layer, {})[kind] = jnp.asarray(found[name])
    return params
