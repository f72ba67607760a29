"""Where or when a named thing is, read from a model's states by ridge: one division of the rows, many sets of features.

Every row is predicted by a fit that has not seen it, nor any row of its block where whole blocks (countries, half
centuries) are held out; penalty and layer are those of the inner folds, which are the outer ones less the one that is
scored, so that they keep blocks whole where it does. One seed here; nothing is jitted. `coordinates_scores` turns
predictions into scores with intervals; `experiments/probe_space.py` and `probe_time.py` ask with them what Gurnee and
Tegmark (2024) asked.
"""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, Key, Numpy, PyTree
from interp_jax.data.text import Text
from interp_jax.linear import paths, ridge, streaming
from interp_jax.linear.fits import predict
from interp_jax.models import transformer
from interp_jax.models.pretrained import Language
from interp_jax.probes import controls, dimension, supervised
from interp_jax.runs.capture import capture

STRENGTHS = tuple(float(value) for value in 10.0 ** np.arange(-2, 3.1, 0.5))
"""Penalties of ridge, in mean eigenvalues of the centred `x.T @ x` of the rows it is fitted to."""
DECAYS = (0.01, 0.03, 0.1, 0.3)
"""Weight decays of nets (Gurnee and Tegmark 2024, section 3.3)."""
DIVISIONS = ("random", "block")
POOLS = ("mean", "last")
INSIDE = "inside "


class How(NamedTuple):
    """Settings. All are static.

    folds: outer ones, at least three. leads: of the targets, the first so many choose layers and train nets. blocks:
    how many may be. early, late: places of layer 0 among the candidates of "layers", and of all later ones. last: the
    candidate whose rows are dealt. few: those that probes inside blocks choose among. dims: numbers of axes to be shown
    to a probe. epochs: of nets, 0 for none.
    """

    folds: int
    leads: int
    blocks: int
    early: tuple[int, ...]
    late: tuple[int, ...]
    last: int
    few: tuple[int, ...]
    dims: tuple[int, ...]
    epochs: int


class Rows(NamedTuple):
    """features: by name candidates `[M, N, D]`, "layers" among them. y: `[N, K]`. block: `[N]`, under `How.blocks`."""

    features: dict[str, Array]
    y: Array
    block: Array


class Held(NamedTuple):
    """What was predicted of rows that were held out.

    predictions: `[N, K]`. inner: `[F, K]`, r2 on the inner folds at the strength chosen without each outer fold.
    strength: `[F, K]`, of `STRENGTHS`. converged: `[F]`, see `linear.paths`.
    """

    predictions: Array
    inner: Array
    strength: Array
    converged: Array


def entity(mask: Array) -> Array:
    """Leave the first and the last token out of a mask `[T]`: those that BERT's tokeniser puts around a text."""
    after = jnp.concatenate([mask[1:], jnp.zeros(1, bool)])
    before = jnp.concatenate([jnp.zeros(1, bool), mask[:-1]])
    return mask & after & before


def pooled(
    apply: Callable[..., transformer.Trace], layers: Sequence[int]
) -> Callable[[PyTree, Text], dict[str, Array]]:
    """Make the features of one text for `runs.capture`: by pool the states of some layers, `[layers, D]`."""

    def features(params: PyTree, x: Text) -> dict[str, Array]:
        states, mask = apply(params, x).states[jnp.asarray(layers)], entity(x.mask)
        return {"mean": transformer.mean(states, mask), "last": transformer.last(states, mask)}

    return features


def spelling(names: Sequence[str], width: int, sizes: Sequence[int] = (2, 3)) -> Numpy:
    """Count the runs of 2 and 3 letters of each name, hashed (CRC-32) to `width` places: `[N, width]` float32.

    In lower case, with marks where a name begins and ends.

    >>> spelling(["Oslo"], 64).sum()  # ^o os sl lo o$, ^os osl slo lo$
    np.float32(9.0)
    """
    checks.whole(1, width=width)
    found = np.zeros((len(names), width), np.float32)
    for row, name in zip(found, names, strict=True):
        marked = f"^{name.lower()}$"
        for size in sizes:
            for i in range(len(marked) - size + 1):
                row[zlib.crc32(marked[i : i + size].encode()) % width] += 1
    return found


def dealt_folds(key: Key, rows: int, folds: int) -> Array:
    """Deal rows to folds, as equal as may be: `[N]`; fold i has `ceil((N - i) / folds)` whatever the key."""
    return jax.random.permutation(key, jnp.arange(rows) % folds)


def block_folds(key: Key, block: Array, count: int, folds: int) -> Array:
    """Deal whole blocks to folds, in random order, each to the fold with the fewest rows so far: `[N]`.

    `linear.paths.folds` deals the largest blocks first, which balances better, and differently sized blocks go to the
    same folds at every key. block: `[N]`, under `count`.
    """
    checks.whole(2, folds=folds)
    sizes = jnp.bincount(block, length=count)

    def deal(load: Array, one: Array) -> tuple[Array, Array]:
        fold = jnp.argmin(load)
        return load.at[fold].add(sizes[one]), fold

    order = jax.random.permutation(key, count)
    found = jax.lax.scan(deal, jnp.zeros(folds, sizes.dtype), order)[1]
    return jnp.zeros(count, found.dtype).at[order].set(found)[block]


def fold_parts(x: Array, y: Array, assigned: Array, *, folds: int) -> tuple[streaming.Frame, ridge.Moments]:
    """Give the moments of each fold, and the frame they are in: a turn of the axes, so that no target leaks by it.

    x: `[N, D]`. y: `[N, K]`. assigned: `[N]`, 0 .. folds - 1.
    """
    checks.whole(3, folds=folds)
    chex.assert_rank([x, y, assigned], [2, 2, 1])
    chex.assert_equal_shape_prefix([x, y, assigned], 1)
    frame = streaming.make_frame(x, y)
    return frame, streaming.fold_moments(streaming.add_mixed(streaming.empty(frame, folds), frame, x, y, assigned))


def fit_without(frame: streaming.Frame, parts: ridge.Moments, fold: Array) -> tuple[paths.Path, Array]:
    """Fit ridge to all folds but one, with penalties that these choose among themselves; give also their unit."""
    folds = len(parts.total)
    rest = jax.tree.map(lambda leaf: leaf[(fold + 1 + jnp.arange(folds - 1)) % folds], parts)
    unit = jnp.trace(paths.leave_out(rest)[0].square) / parts.centre.shape[1]
    unit = jnp.where(unit > 0, unit, 1)
    return paths.from_moments(rest, frame, jnp.asarray(STRENGTHS, unit.dtype) * unit), unit


def held_out(x: Array, y: Array, assigned: Array, *, folds: int) -> Held:
    """Predict each fold by ridge of the others; for the arguments see `fold_parts`."""
    frame, parts = fold_parts(x, y, assigned, folds=folds)
    path, unit = jax.lax.map(lambda fold: fit_without(frame, parts, fold), jnp.arange(folds))
    predictions = jax.vmap(predict, (0, None))(path.fit, x)[assigned, jnp.arange(len(x))]
    inner = jnp.max(jnp.where(jnp.isnan(path.r2), -jnp.inf, path.r2), 1)
    return Held(predictions, inner, path.alpha / unit[:, None], path.fit.converged)


def choose(held: Held, assigned: Array, leads: int, among: Sequence[int]) -> tuple[Array, Array]:
    """Take, fold by fold, the candidate that is best on the inner folds: its predictions `[N, K]`, and which, `[F]`.

    held: of candidates `[M, ...]`. leads: targets whose mean r2 decides. among: candidates that may be chosen.
    """
    score = jnp.mean(held.inner[jnp.asarray(among), :, :leads], -1)
    best = jnp.asarray(among)[jnp.argmax(score, 0)]
    return held.predictions[best[assigned], jnp.arange(len(assigned))], best


def explained(predicted: Array, true: Array, weights: Array | None = None) -> Array:
    """Give the R2 of all targets together, `1 - sum |y - p|^2 / sum |y - mean|^2`: `[]`, from `[N, K]`."""
    weights = jnp.ones(len(true)) if weights is None else weights
    mean = weights @ true / jnp.sum(weights)
    spread = jnp.sum(weights @ (true - mean[None]) ** 2)
    return 1 - jnp.sum(weights @ (true - predicted) ** 2) / spread


def curve(key: Key, x: Array, y: Array, assigned: Array, *, folds: int, dims: Sequence[int]) -> Array:
    """Give the R2 on fold 0 of a probe that sees so many axes, principal ones and random ones: `[2, dims]`.

    Axes are those of the rows outside the fold. Random axes turn the principal ones.
    """
    rest = (assigned != 0).astype(x.dtype)
    axes = dimension.components(x, weights=rest)
    kinds = jax.tree.map(lambda a, b: jnp.stack([a, b]), axes, dimension.shuffled(keys.stream(key, "axes"), axes))

    def one(case: tuple[Array, Array]) -> Array:
        kind, count = case
        seen = dimension.first(jax.tree.map(lambda leaf: leaf[kind], kinds), x, count)
        path, _ = fit_without(*fold_parts(seen, y, assigned, folds=folds), jnp.asarray(0))
        return explained(predict(path.fit, seen), y, 1 - rest)

    cases = jnp.repeat(jnp.arange(2), len(dims)), jnp.tile(jnp.asarray(dims), 2)
    return jax.lax.map(one, cases).reshape(2, len(dims))


def net(key: Key, x: Array, y: Array, assigned: Array, *, folds: int, epochs: int) -> tuple[Array, Array]:
    """Predict fold 0 of rows dealt by `dealt_folds` with a net: rows `[n]` and predictions `[n, K]`.

    Trained on folds 2 and up, stopped by fold 1, which also chooses the weight decay of `DECAYS`.
    """
    sizes = [-(-(len(x) - i) // folds) for i in range(2)]
    order = jnp.argsort(assigned, stable=True)
    test, stop, train = jnp.split(order, np.cumsum(sizes))
    fits, info = jax.vmap(
        lambda decay: supervised.fit_mlp(x[train], y[train], (x[stop], y[stop]), key, weight_decay=decay, epochs=epochs)
    )(jnp.asarray(DECAYS, x.dtype))
    best = jnp.argmin(jnp.where(jnp.isnan(info.loss), jnp.inf, info.loss))
    return test, supervised.predict(jax.tree.map(lambda leaf: leaf[best], fits), x[test])


def divisions(how: How, key: Key, block: Array) -> Array:
    """Give the folds of both divisions, `[2, N]`: rows at random, and whole blocks."""
    return jnp.stack([
        dealt_folds(keys.stream(key, "rows"), len(block), how.folds),
        block_folds(keys.stream(key, "blocks"), block, how.blocks, how.folds),
    ])  # fmt: skip


def about(x: Array, block: Array, count: int) -> Array:
    """Subtract from rows `[N, D]` the means of their blocks."""
    sizes = jnp.maximum(jnp.bincount(block, length=count), 1)
    return x - (jax.ops.segment_sum(x, block, count) / sizes[:, None])[block]


def every_held(how: How, rows: Rows, features: dict[str, Array], assigned: Array) -> dict[str, Held]:
    """Predict from every candidate in both divisions, `[2, M, ...]`; inside blocks `[1, M, ...]`, `INSIDE` + name.

    Inside blocks features and targets are about the means of their blocks, and whole blocks are held out, for a mean
    over a block holds every row of it. Features of one width go through one program.
    """
    features = dict(features)
    for name, few in (("layers", how.few), ("spelling", (0,))):
        taken = features[name][jnp.asarray(few)]
        features[INSIDE + name] = jax.lax.map(lambda x: about(x, rows.block, how.blocks), taken)
    targets = jnp.stack([rows.y, about(rows.y, rows.block, how.blocks)])
    found = {}
    for width in sorted({stack.shape[-1] for stack in features.values()}):
        same = {name: stack for name, stack in features.items() if stack.shape[-1] == width}
        places = dict(zip(same, np.cumsum([0, *map(len, same.values())]), strict=False))
        jobs = [
            (places[name] + i, INSIDE in name, division)
            for name, stack in same.items()
            for division in ((1,) if INSIDE in name else (0, 1))
            for i in range(len(stack))
        ]
        held = _held_by_job(jnp.concatenate(list(same.values())), targets, assigned, how.folds, jobs)
        first = 0
        for name, stack in same.items():
            own = (1 if INSIDE in name else 2, len(stack))
            found[name] = jax.tree.map(
                lambda leaf, at=first, own=own: leaf[at : at + own[0] * own[1]].reshape(*own, *leaf.shape[1:]), held
            )
            first += own[0] * own[1]
    return found


def _held_by_job(stacks: Array, targets: Array, assigned: Array, folds: int, jobs: list[tuple[int, bool, int]]) -> Held:
    def one(job: Array) -> Held:
        return held_out(stacks[job[0]], targets[job[1]], assigned[job[2]], folds=folds)

    return jax.lax.map(one, jnp.asarray(np.asarray(jobs, np.int32)))


def one_split(how: How, key: Key, rows: Rows) -> dict[str, PyTree]:
    """Measure one seed: `assigned [2, N]`, by name `predictions [2, N, K]` and `chosen [2, F]`, `layers [2, M]`, more.

    chosen: the candidate of each fold. layers: R2 of every candidate of "layers". inside: by name `[N, leads]`, what is
    predicted of blocks held out when features and targets lack the means of their blocks. net: rows, and predictions of
    the first targets; curve: `[2, dims]`; both of the random division. unsure: the share of fits that did not converge.
    """
    assigned, y, layers = divisions(how, key, rows.block), rows.y, rows.features["layers"]
    order = controls.dealt_labels(key, jnp.arange(len(y)))
    features = rows.features | {"dealt": layers[how.last : how.last + 1, order]}
    every = every_held(how, rows, features, assigned)
    among = {name: (name, range(len(found.inner[0]))) for name, found in every.items()}
    among |= {"early": ("layers", how.early), "late": ("layers", how.late)}
    picked = {
        name: jax.vmap(lambda one, a, own=own: choose(one, a, how.leads, own))(
            every[source], assigned[-len(every[source].inner) :]
        )
        for name, (source, own) in among.items()
    }
    first = picked["layers"][1][0, 0]
    lead = y[:, : how.leads]
    found: dict[str, PyTree] = {
        "assigned": assigned,
        "predictions": {name: each[0] for name, each in picked.items() if INSIDE not in name},
        "chosen": {name: each[1] for name, each in picked.items()},
        "inside": {name: picked[INSIDE + name][0][0, :, : how.leads] for name in ("layers", "spelling")},
        "layers": jax.vmap(jax.vmap(lambda p: explained(p[:, : how.leads], lead)))(every["layers"].predictions),
        "unsure": jnp.mean(jnp.stack([jnp.mean(1.0 - each.converged) for each in every.values()])),
    }
    if how.dims:
        found["curve"] = curve(key, layers[first], lead, assigned[0], folds=how.folds, dims=how.dims)
    if how.epochs:
        of_net = keys.stream(key, "net")
        found["net"] = net(of_net, layers[first], lead, assigned[0], folds=how.folds, epochs=how.epochs)
    return found


def candidates(
    lm: Language, params: PyTree, rows: Sequence[Sequence[int]], layers: Sequence[int], place: Path
) -> Array:
    """Compute the states of all texts into a folder, once: `[pools layers, N, D]`, those of a pool together."""
    kept = capture(pooled(lm.apply, layers), params, rows, place, lengths=4)
    assert kept is not None
    return jnp.concatenate([jnp.moveaxis(jnp.asarray(kept.load(name)), 1, 0) for name in POOLS])


def one_hot(group: Numpy, count: int) -> Array:
    """Give indicators of a group as a set of features with one candidate: `[1, N, count]`."""
    return jax.nn.one_hot(group, count)[None]


def beside(known: Array, stack: Array, weight: float = 4.0) -> Array:
    """Put features `[1, N, B]` beside each candidate `[M, N, D]`, at so many times its variance: `[M, N, B + D]`.

    So that the penalty bears on the candidate: what is known is to be known, and what comes on top of it is asked.
    """

    def one(x: Array) -> Array:
        size = jnp.sqrt(weight * jnp.sum(jnp.var(x, 0)) / jnp.sum(jnp.var(known[0], 0)))
        return jnp.concatenate([size * known[0], x], 1)

    return jax.lax.map(one, stack)


class Sources(NamedTuple):
    """What texts become states with. lm: a model. encode: `names -> token ids`. place: a folder for states."""

    lm: Language
    encode: Callable[[Sequence[str]], list[list[int]]]
    place: Path


def lay_out(found: Sources, names: Sequence[str], known: Array, *, letters: int, prompt: str = "") -> dict[str, Array]:
    """Compute all sets of features by name, `[M, N, D]`: see `Rows`.

    "layers", and "prompted" with a prompt: every state of the model. "fresh": the first, middle and last of a network
    of random weights. "spelling": runs of letters. "region": `known [1, N, B]`. "told", "told_spelling": it beside the
    first, middle and last state averaged, and beside letters.
    """
    lm, encode, place = found
    depth = lm.config.layers + 1
    rows, few = encode(names), (0, depth // 2, depth - 1)
    fresh = transformer.init(jax.random.key(0), lm.config)
    features = {
        "layers": candidates(lm, lm.params, rows, range(depth), place / "plain"),
        "fresh": candidates(lm, fresh, rows, few, place / "fresh"),
        "spelling": jnp.asarray(spelling(names, letters))[None],
        "region": known,
    }
    if prompt:
        said = encode([prompt.format(name) for name in names])
        features["prompted"] = candidates(lm, lm.params, said, range(depth), place / "prompted")
    features["told"] = beside(known, features["layers"][jnp.asarray(few)])
    features["told_spelling"] = beside(known, features["spelling"])
    return features


def how(lm: Language, *, folds: int, leads: int, blocks: int, dims: Sequence[int], epochs: int) -> How:
    """Say which candidates of `lay_out` are early, late, few and last; numbers of axes stay below the width.

    Raises:
        ValueError: fewer blocks than folds.
    """
    if blocks < folds:
        raise ValueError(f"want at least {folds} blocks, to hold one out with each fold, got {blocks}")
    depth = lm.config.layers + 1
    every = range(len(POOLS) * depth)
    return How(
        folds, leads, blocks, tuple(i for i in every if i % depth == 0), tuple(i for i in every if i % depth),
        depth - 1, (0, depth // 2, depth - 1), tuple(k for k in dims if k < lm.config.width), epochs,
    )  # fmt: skip
