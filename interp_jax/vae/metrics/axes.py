"""What the axes of a code are good for: concepts read from it and from random rotations of it, with few labels or many.

    design = axes.Design(concepts=(0, 1, 3))
    found = axes.examine(code, sizes, design, key, jax.random.orthogonal(key, 10, (2,)))   # [2, 3, L, Q, 2, C]
    read = axes.choose(design, found_of_all_seeds)["sparse"]

A rotation leaves a code all that it says, and the distances in it, and takes its axes away: what a code is better for
than its rotations is what alignment is good for. Concepts are fair coins, "is the class of this factor in its upper
half" (`data.halves`), so chance is 1/2. Linear probes of one loss, the squared one, to labels of 1 and -1, read them:

    dense       from all latents, by ridge, which sees no axes: what rotations change is 0, and there to check
    sparse      from few, by the lasso
    single      from the one latent that fits best, and a threshold: a concept that has a place
    best k      from k latents, chosen one after another

A probe learns from lessons in which all concepts are independent, and from others in which a second one, the cue, goes
along; in the exam all are independent, so a probe that was fooled shows.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.linalg import add_row, matmul
from interp_jax.core.selection import best_of_others
from interp_jax.core.types import Array, Key, Numpy
from interp_jax.data import halves
from interp_jax.data.factors import Sizes
from interp_jax.linear import ridge, sparse
from interp_jax.linear.fits import predict

Code = Callable[[Array, Key], Array]
"""`code(factors [N, F], key) -> [N, D]`; the key is for what is random in images."""
VIEWS = ("own axes", "rotated", "labels shuffled")


@dataclasses.dataclass(frozen=True)
class Design:
    """What is asked. Penalties are of the mean squared error, for codes whose variances add up to 1 (`scaled`).

    concepts: factors, two or more. labels: rising numbers of labels, of one lesson its first ones. correlation: of a
    concept with its cue. draws: lessons for each concept; cues take turns. exam: images in it. ridge, lasso: penalties
    to choose from; no lasso, no sparse probe. latents: how many, from 1.
    """

    concepts: tuple[int, ...]
    labels: tuple[int, ...] = (10, 30, 100, 1000)
    correlation: float = 0.9
    draws: int = 6
    exam: int = 1000
    ridge: tuple[float, ...] = tuple(np.logspace(-3, 1, 7))
    lasso: tuple[float, ...] = tuple(np.logspace(-2.75, -0.5, 7))
    latents: tuple[int, ...] = (1, 2, 3, 5)

    def __post_init__(self) -> None:
        checks.whole(1, draws=self.draws, exam=self.exam)
        checks.between(-1, 1, correlation=self.correlation)
        if len(set(self.concepts)) < max(len(self.concepts), 2):
            raise ValueError(f"want two or more different concepts, got concepts={self.concepts}")
        if not self.labels or sorted({*self.labels}) != [*self.labels] or self.labels[0] < 2:
            raise ValueError(f"want rising numbers of labels, from 2, got labels={self.labels}")
        if not self.ridge or sorted({*self.latents}) != [*self.latents] or self.latents[:1] != (1,):
            raise ValueError(f"want penalties, and rising numbers of latents from 1, got {self.ridge}, {self.latents}")

    def parts(self) -> dict[str, list[int]]:
        """Give by probe its places among the Q candidates, of which one is chosen on other seeds (`choose`)."""
        ends = np.cumsum([0, len(self.ridge), self.latents[-1], len(self.lasso)]).tolist()
        found = {"dense": [*range(ends[1])], "single": [ends[1]]}
        found |= {f"best {k}": [ends[1] + k - 1] for k in self.latents[1:]}
        return found | ({"sparse": [*range(ends[2], ends[3])]} if self.lasso else {})


class Lessons(NamedTuple):
    """B problems: concepts x (alone, with a cue) x draws. Labels are 1 and -1.

    factors: `[B, N, F]`. labels: `[B, N]`. concept, cue: `[B]`, factors.
    """

    factors: Array
    labels: Array
    concept: Array
    cue: Array


def lessons(sizes: Sizes, design: Design, key: Key) -> Lessons:
    """Draw what probes learn from: with a cue and without, all but the cue is the same."""
    every = jnp.array(design.concepts)

    def one(c: Array, along: Array, draw: Array) -> Lessons:
        pair = every[jnp.stack([c, (c + 1 + draw % (len(every) - 1)) % len(every)])]
        own = keys.at(keys.at(key, c), draw)
        drawn = halves.draw(own, sizes, design.labels[-1], pair, correlation=design.correlation * along)
        return Lessons(drawn, signs(sizes, drawn)[:, pair[0]], pair[0], pair[1])

    return jax.vmap(one)(*jnp.asarray(np.indices((len(every), 2, design.draws)).reshape(3, -1)))


def signs(sizes: Sizes, factors: Array) -> Array:
    """Give 1 for classes `[..., F]` in the upper half of their factor, and -1 for others."""
    return 2.0 * halves.upper(sizes, factors) - 1


def answers(design: Design, x: Array, y: Array, exam: Array) -> Array:
    """Learn from the first labels of a lesson by every candidate; give outputs on the exam `[L, Q, M]`.

    x: `[N, D]`, N the most labels. y: `[N]`, 1 or -1. exam: `[M, D]`. All fits are of moments, summed over the labels.
    """
    chex.assert_rank([x, y, exam], [2, 1, 2])
    ends = itertools.pairwise((0, *design.labels))
    blocks = jax.tree.map(lambda *each: jnp.stack(each), *[ridge.moments(x[a:b], y[a:b]) for a, b in ends])

    def learn(keep: Array) -> Array:
        stats = ridge.combine(blocks, keep)
        dense = jax.vmap(lambda a: predict(ridge.fit_moments(stats, a * stats.total), exam)[:, 0])
        lasso = jax.vmap(lambda a: predict(sparse.lasso(stats, a, steps=100, tol=1e-4), exam)[:, 0])
        few = sparse.forward(stats, design.latents[-1], alpha=1e-3 * stats.total)
        found = [dense(jnp.array(design.ridge)), predict(few, exam).T]
        return jnp.concatenate([*found, lasso(jnp.array(design.lasso))] if design.lasso else found)

    return jax.vmap(learn)(jnp.tril(jnp.ones((len(design.labels), len(design.labels)))))


def examine(code: Code, sizes: Sizes, design: Design, key: Key, rotations: Array | None = None) -> Array:
    """Teach probes on one code, as it is, rotated and with labels shuffled, and examine them: `[2, V, L, Q, 2, C]`.

    The axes: accuracy, and how much more often than not a guess is what the cue is; `VIEWS` (rotations averaged), or
    without `rotations [R, D, D]` the code alone; numbers of labels; candidates (`Design.parts`); lessons without a cue
    and with it; concepts. Means over draws. With one key all codes have the same lessons and exam. NaN where a code is
    not finite.
    """
    given = lessons(sizes, design, keys.stream(key, "lessons"))
    count, n, _ = given.factors.shape
    x = code(given.factors.reshape(count * n, -1), keys.stream(key, "lesson images")).reshape(count, n, -1)
    asked = halves.draw(keys.stream(key, "exam"), sizes, design.exam)
    exam, truth = code(asked, keys.stream(key, "exam images")), signs(sizes, asked).T
    mixed = given.labels[:, jax.random.permutation(keys.stream(key, "shuffle"), n)]

    def view(turn: Array, labels: Array) -> Array:
        def problem(x: Array, y: Array, concept: Array, cue: Array) -> Array:
            outputs = answers(design, matmul(x, turn), y, matmul(exam, turn))
            agree = [(outputs > 0) == (truth[i] > 0)[None, None] for i in (concept, cue)]
            right, along = (jnp.mean(jnp.where(jnp.isnan(outputs), jnp.nan, each), 2) for each in agree)
            return jnp.stack([right, 2 * along - 1])

        found = jax.vmap(problem)(x, labels, given.concept, given.cue)
        means = jnp.mean(found.reshape(len(design.concepts), 2, design.draws, *found.shape[1:]), 2)
        return jnp.moveaxis(means, (0, 1), (-1, -2))

    still = jnp.eye(x.shape[2], dtype=x.dtype)[None]
    if rotations is None:
        return view(still[0], given.labels)[:, None]
    turns = jnp.concatenate([still, rotations, still])
    shuffled = jnp.arange(len(turns)) == len(turns) - 1
    found = jax.lax.map(lambda each: view(each[0], jnp.where(each[1], mixed, given.labels)), (turns, shuffled))
    return jnp.stack([found[0], jnp.mean(found[1:-1], 0), found[-1]], 1)


def scaled(code: Code, sample: Array) -> Code:
    """Centre a code, and scale it as a whole, so that the variances of a sample `[N, D]` of it add up to 1."""
    mean, spread = jnp.mean(sample, 0), jnp.sqrt(jnp.sum(jnp.var(sample, 0)))
    return lambda factors, key: add_row(code(factors, key), -mean) / spread


def choose(design: Design, found: Numpy) -> dict[str, Numpy]:
    """Take of each probe the candidate that is best on average over the other seeds, by lessons without a cue.

    found: `[cells, S, 2, V, L, Q, 2, C]`, what `examine` gave for S seeds of each kind of code. Gives by probe `[cells,
    S, 2, V, L, 2, C]`; the choice is each kind's, view's and number of labels' own. NaN for a lone seed.
    """
    chosen = {}
    for probe, places in design.parts().items():
        candidates = found[:, :, :, :, :, places]
        marks = candidates[:, :, 0, ..., 0, :].mean(-1)
        best = np.zeros(marks.shape[:-1], int)
        for cell, *rest in np.ndindex(marks.shape[0], *marks.shape[2:-1]):
            at = (cell, slice(None), *rest)
            best[at] = best_of_others(marks[at].T)
        index = best[:, :, None, :, :, None, None, None]
        taken = np.take_along_axis(candidates, np.maximum(index, 0), 5)
        chosen[probe] = np.where(index >= 0, taken, np.nan)[:, :, :, :, :, 0]
    return chosen


def columns(design: Design, read: dict[str, Numpy], names: Sequence[str]) -> dict[str, Numpy]:
    """Give what `choose` gave as columns of a table, a row for each number. names: of the concepts.

    Columns `cell` and `seed` are places along the first two axes; `correlation` is that of the lessons' cue.
    """
    blocks = []
    for probe, values in read.items():
        cell, seed, view, labels, along, concept = np.indices(values[:, :, 0].shape).reshape(6, -1)
        blocks.append({
            "cell": cell, "seed": seed, "view": np.array(VIEWS)[view], "probe": np.full(len(cell), probe),
            "labels": np.array(design.labels)[labels], "correlation": design.correlation * along,
            "concept": np.array(names)[concept], "accuracy": values[:, :, 0].ravel(),
            "follows_cue": values[:, :, 1].ravel(),
        })  # fmt: skip
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
