"""Robust accuracy under an ensemble of attacks, each run only on what still stands, and curves over eps.

`evaluator` is a host driver: it owns `jit` (one program an attack, whatever eps, parameters and how many examples are
left), since the shapes of what is left change as examples fall. Given a folder it commits what it has found as it goes,
through `runs.driver`: a unit is one batch under one attack.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Wrapped

from interp_jax.adversarial import apgd, norms, objectives
from interp_jax.adversarial.attack import UNIT, Attack, Bounds
from interp_jax.adversarial.fab import fab_t
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Predict
from interp_jax.adversarial.square import square
from interp_jax.core import checks, keys
from interp_jax.core.types import Apply, Array, ArrayLike, Key, Numpy, PyTree
from interp_jax.runs import digest
from interp_jax.runs.chain import Chain, Steps
from interp_jax.runs.driver import drive
from interp_jax.runs.progress import Progress
from interp_jax.runs.store import open_store

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
CLEAN = "clean"
"""The name under which the clean examples are judged, which no attack can have."""


def standard(
    *, norm: Norm = norms.linf, bounds: Bounds | None = UNIT, steps: int = 100, queries: int = 5000, targets: int = 9
) -> dict[str, Member]:
    """Give the attacks of AutoAttack's standard version (Croce and Hein 2020, section 6), in its order.

    APGD on the cross entropy, APGD on the targeted DLR towards the likeliest `targets` other classes, targeted FAB,
    and Square, which sees no gradient. Below four classes the targeted DLR is undefined and the difference of logits
    takes its place.

    In L1 both APGDs begin in larger balls (`apgd.NARROWING`), as in AutoAttack, which has 5 restarts of the first, 5
    targets, and a Square of its own for L1: here there is none, so that every attack needs gradients.
    """
    shared = {"norm": norm, "bounds": bounds}
    searches: dict[str, Any] = shared | {"steps": steps, "radii": apgd.NARROWING if norm == norms.l1 else apgd.AT_ONCE}

    def apgd_ce(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return apgd.apgd(objectives.cross_entropy(predict, label), x, key, eps=eps, **searches)

    def apgd_towards(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return apgd.apgd_t(predict, x, label, key, eps=eps, targets=targets, **searches)

    def fab_towards(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return fab_t(predict, x, label, key, eps=eps, steps=steps, targets=targets, **shared)

    def squares(predict: Predict, x: Array, label: Array, key: Key, eps: Array) -> Attack:
        return square(objectives.margin(predict, label), x, key, eps=eps, steps=queries, **shared)

    members = {"apgd-ce": apgd_ce, "apgd-t": apgd_towards, "fab-t": fab_towards, "square": squares}
    return {name: member for name, member in members.items() if name != "square" or norm != norms.l1}


class _Work(NamedTuple):
    """program: jitted, over a batch of examples. given: a batch of rows -> its arguments."""

    program: Wrapped
    given: Callable[[Numpy], tuple]


_Walk = Callable[[str, Numpy], tuple[Numpy, ...]]
"""`(name of a work, rows) -> its results for these rows`."""


def evaluator(apply: Apply, members: Mapping[str, Member], *, batch: int = 256) -> Evaluator:
    """Make `evaluate(params, xs [N, ...], labels [N], key, *, eps, all_members=False, out=None, progress=None)`.

    It gives a `Robustness`. Every program is compiled once for `batch` examples; the last batch is filled up with
    copies. An attack's key is that of the example's place, so an example meets the same randomness whatever else still
    stands. `out`: a folder that keeps what is found, batch by batch, with a bar or lines that say how far each attack
    is: the same call after a kill goes on from the last commit (every half minute, and on SIGTERM) and ends with the
    same bits. The folder belongs to one evaluation: other parameters, examples, settings or programs are refused by
    their digests with a StoreError. `progress`: told of each batch instead of the bar.

    Args:
        apply: the model, `(params, x) -> logits [K]`, for one example.
        members: attacks by name, in the order in which they run.
        batch: examples attacked together, a matter of memory.
    """
    checks.whole(1, batch=batch)
    if CLEAN in members:
        raise ValueError(f"want attacks by other names than {CLEAN!r}, got {[*members]}")

    def program(member: Member) -> Wrapped:
        def one(params: PyTree, x: Array, label: Array, key: Key, eps: Array) -> tuple[Array, Array, Array]:
            found = member(partial(apply, params), x, label, key, eps)
            return found.x, found.fooled, jnp.isfinite(found.objective)

        return jax.jit(jax.vmap(one, (None, 0, 0, 0, None)))

    programs = {name: program(member) for name, member in members.items()}
    right = jax.jit(jax.vmap(lambda params, x, y: (jnp.argmax(apply(params, x)) == y,), (None, 0, 0)))

    def evaluate(
        params: PyTree, xs: ArrayLike, labels: ArrayLike, key: Key, *, eps: ArrayLike, all_members: bool = False,
        out: str | os.PathLike | None = None, progress: Progress | None = None,
    ) -> Robustness:  # fmt: skip
        checks.not_negative(eps=eps)
        xs, labels = np.asarray(xs), np.asarray(labels)
        chex.assert_rank(labels, 1)
        chex.assert_equal_shape_prefix([xs, labels], 1)
        if not len(xs):
            raise ValueError("want at least one example, got none")

        def attack(name: str) -> _Work:
            draws = jax.vmap(partial(keys.at, keys.stream(key, name)))
            return _Work(programs[name], lambda rows: (params, xs[rows], labels[rows], draws(rows), eps))

        works = {name: attack(name) for name in programs}
        works[CLEAN] = _Work(right, lambda rows: (params, xs[rows], labels[rows]))
        walk: _Walk = partial(_in_batches, works, batch)
        if out is not None:
            settings = {"eps": np.asarray(eps).tolist(), "all_members": all_members, "members": [*members]}
            marks = {"params": params, "examples": xs, "labels": labels, "key": key}
            config = settings | {name: digest.fingerprint(tree) for name, tree in marks.items()}
            walk = _kept(works, batch, out, config, progress)
        return _run(walk, [*programs], xs, all_members)

    return evaluate


def _run(walk: _Walk, names: Sequence[str], xs: Numpy, all_members: bool) -> Robustness:
    """Send what the clean model has right, or what of it still stands, through one attack after the other."""
    correct = walk(CLEAN, np.arange(len(xs)))[0]
    found = Robustness(correct, correct.copy(), {}, xs.copy(), np.zeros(len(xs), bool))
    for name in names:
        rows = np.flatnonzero(correct if all_members else found.standing)
        found.fell[name] = np.zeros(len(xs), bool)
        if not len(rows):
            continue
        x, fooled, finite = walk(name, rows)
        found.fell[name][rows] = fooled
        newly = rows[fooled & found.standing[rows]]
        found.x[newly] = x[fooled & found.standing[rows]]
        found.standing[newly] = False
        found.undefined[rows[~finite]] = True
    return found


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


def _blocks(rows: Numpy, batch: int) -> list[Numpy]:
    """Cut rows into blocks of exactly `batch`, the last filled up."""
    return [np.resize(rows[i : i + batch], batch) for i in range(0, len(rows), batch)]


def _in_batches(works: Mapping[str, _Work], batch: int, name: str, rows: Numpy) -> tuple[Numpy, ...]:
    """Walk all blocks of the rows."""
    work = works[name]
    done = [jax.device_get(work.program(*work.given(block))) for block in _blocks(rows, batch)]
    return tuple(np.concatenate(parts)[: len(rows)] for parts in zip(*done, strict=True))


def _kept(
    works: Mapping[str, _Work], batch: int, out: str | os.PathLike, config: dict, progress: Progress | None
) -> _Walk:
    """Walk blocks as units of the house's driver: one chain an attack, whose state is all that was found by it.

    The digests of the programs, as they are lowered here, say that model and attacks are the same. They depend on the
    versions and on the kind of device, and so do the bits.
    """
    first = np.zeros(batch, int)
    lowered = {name: work.program.lower(*work.given(first)).as_text() for name, work in works.items()}
    programs = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in lowered.items()}
    made_with = {"jax": jax.__version__, "backend": jax.default_backend(), "batch": batch}
    store = open_store(os.fspath(out), made_with | config | {"programs": programs})

    def walk(name: str, rows: Numpy) -> tuple[Numpy, ...]:
        work, blocks, ends = works[name], _blocks(rows, batch), []
        shapes = jax.eval_shape(work.program, *work.given(first))

        def begin() -> tuple[Numpy, ...]:
            return tuple(np.zeros((len(blocks), *shape.shape), shape.dtype) for shape in shapes)

        def step(state: tuple[Numpy, ...], index: int) -> tuple[Numpy, ...]:
            seen = jax.device_get(work.program(*work.given(blocks[index])))
            for whole, part in zip(state, seen, strict=True):
                whole[index] = part
            return state

        def finish(chain: Chain, state: tuple[Numpy, ...]) -> None:
            ends.append(tuple(leaf.reshape(-1, *leaf.shape[2:])[: len(rows)] for leaf in state))

        record = {"rows": digest.fingerprint(rows)}
        drive([Steps(name, len(blocks), begin, step, record, begin)], store, finish=finish, progress=progress)
        return ends[0]

    return walk
