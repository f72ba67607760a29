"""Our side of the strength comparison: each attack through `evaluation.evaluator`, as a user runs it."""

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import strength_nets as nets
import strength_units as units

from interp_jax.adversarial import objectives
from interp_jax.adversarial.apgd import apgd
from interp_jax.adversarial.attack import Attack
from interp_jax.adversarial.evaluation import Evaluator, Member, evaluator, standard
from interp_jax.adversarial.minimal import leaders
from interp_jax.adversarial.objectives import Predict
from interp_jax.adversarial.pgd import pgd
from interp_jax.core import keys
from interp_jax.core.types import Array, Key, PyTree
from interp_jax.data.images import Labelled

PGD_STEPS = 50


def step_size(eps: float) -> float:
    """Give PGD's step, so that its steps together are 2.5 eps long."""
    return 2.5 * eps / PGD_STEPS


def runner_up(predict: Predict, x: Array, label: Array) -> Array:
    """Give the likeliest class other than the label."""
    return leaders(predict(x), label, 1)[0]


def members(norm: str) -> dict[str, Member]:
    """Give every attack by name. "pgd-plain" starts at the image, so no draw differs between the sides."""
    ball = nets.NORMS[norm]

    def apgd_dlr(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return apgd(objectives.dlr(predict, label), x, key, eps=eps, steps=100, norm=ball)

    def descend(
        objective: objectives.Objective, x: Array, key: Key, eps: Array, *, random_start: bool = True
    ) -> Attack:
        tuning = {"step_size": 2.5 * eps / PGD_STEPS, "steps": PGD_STEPS, "random_start": random_start}
        return pgd(objective, x, key, eps=eps, norm=ball, **tuning)

    def untargeted(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return descend(objectives.cross_entropy(predict, label), x, key, eps)

    def plain(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return descend(objectives.cross_entropy(predict, label), x, key, eps, random_start=False)

    def targeted(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return descend(objectives.target_cross_entropy(predict, runner_up(predict, x, label)), x, key, eps)

    pgds = {"pgd": untargeted, "pgd-plain": plain, "pgd-targeted": targeted}
    return {**standard(norm=ball), "apgd-dlr": apgd_dlr, **pgds}


@cache
def compiled(architecture: str, data: str, attack: str, norm: str, batch: int) -> Evaluator:
    """Make the evaluator of one attack, or of the ensemble, which every seed and radius shares."""
    every = members(norm)
    chosen = standard(norm=nets.NORMS[norm]) if attack == "standard" else {attack: every[attack]}
    return evaluator(nets.model(architecture, data).apply, chosen, batch=batch)


@cache
def measure(architecture: str, data: str, attack: str) -> Callable[..., Array]:
    """Make the margins of images `(params, clean, found, labels) -> [N]`."""
    apply = nets.model(architecture, data).apply

    def one(params: PyTree, clean: Array, found: Array, label: Array) -> Array:
        predict = partial(apply, params)
        if attack == "pgd-targeted":
            return objectives.target_margin(predict, runner_up(predict, clean, label))(found).value
        return objectives.margin(predict, label)(found).value

    return jax.jit(jax.vmap(one, (None, 0, 0, 0)))


def attack(
    setting: nets.Setting, network: nets.Network, unit: units.Unit, params: PyTree, test: Labelled
) -> tuple[np.ndarray, np.ndarray]:
    """Run one unit: the margins and sizes of what the attack gives back."""
    xs, labels = test.images[unit.start : unit.stop], test.labels[unit.start : unit.stop]
    key = keys.at(keys.stream(jax.random.key(unit.seed), "strength"), unit.start)
    batch = 200 if setting.data == "digits" else 250
    evaluate = compiled(network.architecture, setting.data, unit.attack, unit.norm, batch)
    found = evaluate(params, xs, labels, key, eps=unit.eps)
    margin = measure(network.architecture, setting.data, unit.attack)(params, xs, found.x, labels)
    return np.asarray(margin), units.sizes(found.x - xs, unit.norm)


def logits(setting: nets.Setting, network: nets.Network, params: PyTree, test: Labelled) -> np.ndarray:
    """Give the logits of all test images."""
    apply = nets.model(network.architecture, setting.data).apply
    return np.asarray(jax.jit(jax.vmap(apply, (None, 0)))(params, jnp.asarray(test.images)))
