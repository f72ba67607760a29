"""Robust accuracy under an ensemble of attacks, each run only on what still stands, and curves over eps.

`evaluator` is a host driver: it owns `jit` (one program an attack, whatever eps, parameters and how many examples are
left), since the shapes of what is left change as examples fall.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.adversarial import norms, objectives
from interp_jax.adversarial.apgd import apgd, apgd_t
from interp_jax.adversarial.attack import UNIT, Attack, Bounds
from interp_jax.adversarial.fab import fab_t
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Predict
from interp_jax.adversarial.square import square
from interp_jax.core import checks, keys
from interp_jax.core.types import Apply, Array, ArrayLike, Key, Numpy, PyTree

Member = Callable[[Predict, Array, Array, Key, Array], Attack]
"""One attack of an ensemble: `(predict, x, label, key, eps) -> Attack`, for one example."""


class Robustness(NamedTuple):
    """What an ensemble found, for N examples, in numpy.

    correct: `[N]` bool, of the clean examples. standing: `[N]`, those that no attack fooled, nor the clean model. fell:
    attack -> `[N]`, those that it fooled; without `all_members` it was run only on what the ones before it had left.
    x: `[N, ...]`, the adversarial example where one was found, the clean one elsewhere. undefined: `[N]`, where an
    attack's objective was never finite: such examples count as standing, so look before you believe.
    """

    correct: Numpy
    standing: Numpy
    fell: dict[str, Numpy]
    x: Numpy
    undefined: Numpy

    @property
    def accuracy(self) -> float:
        """Give the robust accuracy."""
        return float(self.standing.mean())


Evaluator = Callable[..., Robustness]


def standard(
    *, norm: Norm = norms.linf, bounds: Bounds | None = UNIT, steps: int = 100, queries: int = 5000, targets: int = 9
) -> dict[str, Member]:
    """Give the attacks of AutoAttack's standard version (Croce and Hein 2020, section 6), in its order.

    APGD on the cross entropy, APGD on the targeted DLR towards the likeliest `targets` other classes, targeted FAB,
    and Square, which sees no gradient. Below four classes the targeted DLR is undefined and the margin takes its place.
    """
    shared = {"norm": norm, "bounds": bounds}

    def apgd_ce(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return apgd(objectives.cross_entropy(predict, label), x, key, eps=eps, steps=steps, **shared)

    def apgd_towards(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return apgd_t(predict, x, label, key, eps=eps, steps=steps, targets=targets, **shared)

    def fab_towards(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return fab_t(predict, x, label, key, eps=eps, steps=steps, targets=targets, **shared)

    def squares(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return square(objectives.margin(predict, label), x, key, eps=eps, steps=queries, **shared)

    return {"apgd-ce": apgd_ce, "apgd-t": apgd_towards, "fab-t": fab_towards, "square": squares}


def evaluator(apply: Apply, members: Mapping[str, Member], *, batch: int = 256) -> Evaluator:
    """Make `evaluate(params, xs [N, ...], labels [N], key, *, eps, all_members=False) -> Robustness`.

    Every program is compiled once for `batch` examples; the last batch is filled up with copies. An attack's key is
    that of the example's place, so an example meets the same randomness whatever else still stands.

    Args:
        apply: the model, `(params, x) -> logits [K]`, for one example.
        members: attacks by name, in the order in which they run.
        batch: examples attacked together, a matter of memory.
    """
    checks.whole(1, batch=batch)

    def program(member: Member) -> Callable:
        def one(params: PyTree, x: Array, label: Array, key: Key, eps: Array) -> tuple[Array, Array, Array]:
            found = member(partial(apply, params), x, label, key, eps)
            return found.x, found.fooled, jnp.isfinite(found.objective)

        return jax.jit(jax.vmap(one, (None, 0, 0, 0, None)))

    programs = {name: program(member) for name, member in members.items()}
    predict = jax.jit(jax.vmap(lambda params, x: jnp.argmax(apply(params, x)), (None, 0)))

    def evaluate(
        params: PyTree, xs: ArrayLike, labels: ArrayLike, key: Key, *, eps: ArrayLike, all_members: bool = False
    ) -> Robustness:
        checks.not_negative(eps=eps)
        xs, labels = np.asarray(xs), np.asarray(labels)
        chex.assert_rank(labels, 1)
        chex.assert_equal_shape_prefix([xs, labels], 1)
        if not len(xs):
            raise ValueError("want at least one example, got none")
        guessed = _in_batches(lambda rows: (predict(params, xs[rows]),), np.arange(len(xs)), batch)[0]
        correct = guessed == labels
        found = Robustness(correct, correct.copy(), {}, xs.copy(), np.zeros(len(xs), bool))
        for name, attack in programs.items():
            rows = np.flatnonzero(correct if all_members else found.standing)
            draws = jax.vmap(partial(keys.at, keys.stream(key, name)))

            def work(rows: Numpy, attack: Callable = attack, draws: Callable = draws) -> tuple:
                return attack(params, xs[rows], labels[rows], draws(rows), eps)

            x, fooled, finite = _in_batches(work, rows, batch) or (xs[:0], rows != rows, rows == rows)
            found.fell[name] = np.zeros(len(xs), bool)
            found.fell[name][rows] = fooled
            newly = rows[fooled & found.standing[rows]]
            found.x[newly] = x[fooled & found.standing[rows]]
            found.standing[newly] = False
            found.undefined[rows[~finite]] = True
        return found

    return evaluate


def curve(
    evaluate: Evaluator, params: PyTree, xs: ArrayLike, labels: ArrayLike, key: Key, *, epsilons: Sequence[float]
) -> Numpy:
    """Tell which examples stand at each radius, `[E, N]`, in the order given.

    What falls in a ball falls in every larger one, so each radius is tried on what the smaller ones left.
    """
    checks.not_negative(**{f"epsilons[{i}]": eps for i, eps in enumerate(epsilons)})
    xs, labels = np.asarray(xs), np.asarray(labels)
    left, standing = np.arange(len(xs)), np.zeros((len(epsilons), len(xs)), bool)
    for i in np.argsort(np.asarray(epsilons, float), kind="stable"):
        left = left[evaluate(params, xs[left], labels[left], keys.at(key, i), eps=epsilons[i]).standing]
        standing[i, left] = True
    return standing


def _in_batches(work: Callable[[Numpy], tuple], rows: Numpy, batch: int) -> list[Numpy]:
    """Apply `work` to blocks of exactly `batch` rows, the last filled up; give its results for the rows asked for."""
    blocks = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    done = [jax.device_get(work(np.resize(block, batch))) for block in blocks]
    return [np.concatenate(parts)[: len(rows)] for parts in zip(*done, strict=True)]
