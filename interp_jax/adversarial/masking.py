"""Checks that expose masked gradients: numbers near zero for a model whose robustness is what it seems.

A defence may break the attack and not the adversary: its gradients vanish, are random, or point nowhere (Athalye et al.
2018). The checks are those of Carlini et al. (2019, section 4) and Pintor et al. (2022), as numbers in [0, 1] that grow
where something is wrong. `verdict` names those above their thresholds; then a robust accuracy is not to be trusted.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.adversarial import norms, objectives
from interp_jax.adversarial.attack import UNIT, Attack, Bounds, region, value_and_gradient
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Predict
from interp_jax.adversarial.pgd import fgsm, noise, pgd
from interp_jax.adversarial.square import square
from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key


class Symptoms(NamedTuple):
    """One number a check, of one example or, averaged, of one model; NaN where it was not made.

    flat: the share of PGD's gradients that are zero or not finite. rough: how wrong the gradient predicts the margin's
    change over a tenth of the radius, `|got - predicted| / (|got| + |predicted|)`. loss, one_step, noise, black_box,
    transfer: 1 where PGD on the margin, FGSM, random points, Square (values alone) or points made on another model
    fool and PGD on the cross entropy does not. unbounded: 1 where PGD does not fool with the whole input range as its
    ball. climbing: the share of the rise of PGD's objective that came in the last quarter of its steps.
    """

    flat: Array
    rough: Array
    loss: Array
    one_step: Array
    noise: Array
    black_box: Array
    transfer: Array
    unbounded: Array
    climbing: Array


THRESHOLDS = Symptoms(*map(jnp.float32, (0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.1)))


def symptoms(
    predict: Predict,
    x: Array,
    label: ArrayLike,
    key: Key,
    *,
    eps: ArrayLike,
    steps: int = 40,
    queries: int = 200,
    norm: Norm = norms.linf,
    bounds: Bounds = UNIT,
    other: Predict | None = None,
) -> Symptoms:
    """Make every check on one example that the model classifies rightly; average over such with `average`.

    Args:
        predict: one example to logits.
        x: one example; an image `[H, W, C]`, for Square.
        label: its class.
        key: of the random starts and of Square.
        eps: the radius at which robustness is claimed.
        steps: of PGD, each a fifth of the radius (or of the input range).
        queries: of Square.
        norm: linf or l2.
        bounds: of the input.
        other: another model, from whose adversarial points transfer is tested.
    """
    checks.whole(4, steps=steps)
    loss = objectives.cross_entropy(predict, label)
    shared = {"norm": norm, "bounds": bounds}

    def ascend(objective: objectives.Objective, radius: ArrayLike, name: str) -> Attack:
        step = 0.2 * jnp.asarray(radius)
        return pgd(objective, x, keys.stream(key, name), eps=radius, step_size=step, steps=steps, **shared)

    found = ascend(loss, eps, "pgd")
    missed = ~found.fooled

    def beats(attack: Attack) -> Array:
        return (attack.fooled & missed).astype(x.dtype)

    squares = square(objectives.margin(predict, label), x, keys.stream(key, "square"), eps=eps, steps=queries, **shared)
    widest = norm.size(jnp.broadcast_to(jnp.asarray(bounds[1], x.dtype) - bounds[0], x.shape))
    transfer = jnp.full((), jnp.nan, x.dtype)
    if other is not None:
        point = ascend(objectives.cross_entropy(other, label), eps, "other").x
        transfer = (loss(point).fooled & missed).astype(x.dtype)
    return Symptoms(
        flat=found.flat,
        rough=_rough(predict, x, label, eps, norm, bounds),
        loss=beats(ascend(objectives.margin(predict, label), eps, "margin")),
        one_step=beats(fgsm(loss, x, eps=eps, **shared)),
        noise=beats(noise(loss, x, keys.stream(key, "noise"), eps=eps, draws=steps, **shared)),
        black_box=beats(squares),
        transfer=transfer,
        unbounded=(~ascend(loss, widest, "unbounded").fooled).astype(x.dtype),
        climbing=_climbing(found.curve),
    )


def average(found: Symptoms, correct: Array) -> Symptoms:
    """Average over the examples `[N]` that the clean model has right; NaN if there are none."""
    weights = correct / jnp.maximum(correct.sum(), 1)
    none = jnp.where(correct.any(), 0.0, jnp.nan)
    return jax.tree.map(lambda values: jnp.sum(jnp.where(correct, values, 0.0) * weights) + none, found)


def verdict(found: Symptoms, thresholds: Symptoms = THRESHOLDS) -> tuple[str, ...]:
    """Name the checks that expose a model: none means that its robust accuracy may be believed as far as they see.

    >>> verdict(Symptoms(0.9, 0.1, 0.0, 0.0, 0.0, 0.2, float("nan"), 0.0, 0.1))
    ('flat', 'black_box')
    """
    return tuple(name for name, value in found._asdict().items() if float(value) > float(getattr(thresholds, name)))


def calibrate(sound: Symptoms, masked: Mapping[str, Symptoms], *, floor: float) -> Symptoms:
    """Set thresholds from models known to be sound, `[S]`, and models masked by known mechanisms, `[M]` each.

    A check's threshold is the geometric mean of the largest value of a sound model (at least `floor`: one example's
    share) and the largest median of a mechanism, if that is ten times as large; a check that no mechanism moves so far
    never speaks: its threshold is infinite.
    """

    def between(sound: Array, *mechanisms: Array) -> Array:
        top = max(float(jnp.max(sound)), floor)
        reached = max(float(jnp.median(values)) for values in mechanisms)
        return jnp.float32((top * reached) ** 0.5 if reached >= 10 * top else jnp.inf)

    return jax.tree.map(between, sound, *masked.values())


def _rough(predict: Predict, x: Array, label: ArrayLike, eps: ArrayLike, norm: Norm, bounds: Bounds) -> Array:
    where = region(x, 0.1 * jnp.asarray(eps), norm, bounds)
    margin = objectives.margin(predict, label)
    here, gradient, _ = value_and_gradient(margin, x)
    d = where.confine(where.eps * norm.ascend(gradient))
    # Where the gradient is zero there is no direction of its own: any will show whether the margin is flat too.
    d = jnp.where(jnp.any(gradient != 0), d, where.confine(jnp.full_like(x, 0.5 * where.eps)))
    got, predicted = margin(x + d).value - here.value, jnp.sum(gradient * d)
    total = jnp.abs(got) + jnp.abs(predicted)
    return jnp.where(total > 0, jnp.abs(got - predicted) / jnp.where(total > 0, total, 1.0), 0.0)


def _climbing(curve: Array) -> Array:
    """Give the last quarter's share of the rise of the best objective so far."""
    best = jax.lax.cummax(curve)
    rise = best[-1] - best[0]
    late = best[-1] - best[(3 * (curve.size - 1)) // 4]
    return jnp.where(rise > 0, late / jnp.where(rise > 0, rise, 1.0), 0.0)
