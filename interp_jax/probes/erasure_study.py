"""One split of texts: what linear and other probes find of a concept that was erased, what is lost of other properties.

Rows are divided into those that erasers are fitted to, and others on which probes are trained, their penalty is chosen,
and they are scored: an eraser's promise is about the first, and a user's rows are the others. One seed here; nothing is
jitted. `experiments/probe_erasure.py` asks with it what erasure does.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from interp_jax.core import keys
from interp_jax.core.linalg import add_row, centre_rows, compress_rows, matmul, svd
from interp_jax.core.types import Array, Key, PyTree
from interp_jax.linear import logistic
from interp_jax.linear.fits import LinearFit, accuracy, predict
from interp_jax.models.transformer import Edits, Trace, at, mean
from interp_jax.probes import erasure, quadratic, supervised
from interp_jax.probes.erasure import Eraser

Apply = Callable[..., Trace]
"""A transformer: `(params, text, edits=) -> Trace`, as `models.pretrained.Language.apply`."""
PENALTIES = (30.0, 100.0, 300.0)
"""Of a probe, on the sum of losses of rows whose features have a mean square of 1; chosen on rows of their own."""
SHARES = (0.5, 0.05, 0.005, 0.0005)
"""How frequent a planted concept is."""
GAP = 3.0
"""Between the means of its two sides, in deviations."""
TOLERANCE = 0.01
"""Of concept-erasure 0.2.4: singular values of W cov(x, z) that are not larger count as nothing, whatever z is."""


class How(NamedTuple):
    """Settings; static. layer: of most measurements. rounds: of INLP, rising. randoms: erasers to average.

    sites: layers after which the concept is erased inside the network. layers: where probes look, besides `layer`.
    counts: of rows that an eraser is fitted to, rising, beside all of them. components: principal, for probes that are
    not linear. rows, width: of the planted concept. classes: of the related property.
    """

    layer: int
    rounds: tuple[int, ...]
    randoms: int
    sites: tuple[int, ...]
    layers: tuple[int, ...]
    counts: tuple[int, ...]
    components: int
    rows: int
    width: int
    classes: int

    @property
    def erasers(self) -> tuple[str, ...]:
        """Name what `erased` gives, in order."""
        random = tuple(f"random {i}" for i in range(self.randoms))
        return ("none", *random, "leace", "projection", *(f"inlp {r}" for r in self.rounds))


class Rows(NamedTuple):
    """N texts. states: `[N, L + 1, D]`, means over tokens. texts: padded, `[N, T]`. concept, other: `[N]`, 0 and 1.

    related: `[N]`, classes of a property that the concept is a function of. other: one that it is not.
    """

    states: Array
    texts: PyTree
    concept: Array
    related: Array
    other: Array


class Parts(NamedTuple):
    """Indices of rows: those of erasers, one half; to train probes with, a quarter; to choose and score, an eighth."""

    fit: Array
    train: Array
    choose: Array
    test: Array


class Found(NamedTuple):
    """gain: `[]`, log loss of a constant less that of a probe, in nats. above: `[]`, accuracy less the majority's."""

    gain: Array
    above: Array


def divide(key: Key, count: int) -> Parts:
    """Deal rows at random."""
    order = jax.random.permutation(key, count)
    a, b, c = count // 2, count // 2 + count // 4, count // 2 + count // 4 + count // 8
    return Parts(order[:a], order[a:b], order[b:c], order[c:])


def shares(y: Array, classes: int) -> Array:
    """Give the log frequency of each class, the constant to beat: `[1, classes]`."""
    return jnp.log(jnp.mean(jax.nn.one_hot(y, classes), 0))[None]


def against_constant(outputs: Array, y: Array, constant: Array) -> Found:
    """Compare outputs `[N, K]` with a constant `[1, classes]` on rows `[N]`."""
    constant = jnp.broadcast_to(constant, (len(y), constant.shape[1]))
    gain = jnp.mean(logistic.log_likelihood(outputs, y) - logistic.log_likelihood(constant, y))
    return Found(gain, accuracy(outputs, y) - accuracy(constant, y))


def on_fitted(x: Array, y: Array, alpha: float = 0.1) -> Found:
    """Give what a logistic regression finds on the rows it is fitted to, almost without a penalty. y: 0 and 1."""
    fit = logistic.fit(x, y, alpha)
    return against_constant(predict(fit, x), y, shares(y, 2))


def held_out(x: Array, y: Array, parts: Parts, *, classes: int = 2, penalties: tuple[float, ...] = PENALTIES) -> Found:
    """Train a linear probe on one part, choose its penalty on another, score it on a third.

    x: `[N, D]`. y: `[N]`. The constant, too, is that of the rows trained with.
    """

    def fit(alpha: Array) -> LinearFit:
        if classes == 2:
            return logistic.fit(x[parts.train], y[parts.train], alpha)
        return logistic.fit_softmax(x[parts.train], jax.nn.one_hot(y[parts.train], classes), alpha, tol=1e-4)

    constant = shares(y[parts.train], classes)

    def one(alpha: Array) -> tuple[Found, Found]:
        found = fit(alpha)
        return tuple(against_constant(predict(found, x[part]), y[part], constant) for part in parts[2:])  # pyrefly: ignore

    choose, test = jax.lax.map(one, jnp.array(penalties))
    best = jnp.argmax(choose.gain)
    return Found(test.gain[best], test.above[best])


def scaled(x: Array, rows: Array) -> Array:
    """Centre on some rows, and divide by one number, so that their features have a mean square of 1."""
    about = add_row(x, -x[rows].mean(0))
    return about / jnp.sqrt(jnp.mean(about[rows] ** 2))


def erased(how: How, key: Key, x: Array, y: Array, fit: Array) -> tuple[Array, Array]:
    """Give `x [N, D]` after every eraser, `[E, N, D]`, and what LEACE leaves of correlations in the fitted rows."""
    own, told = x[fit], y[fit].astype(x.dtype)
    draws = jax.random.split(keys.stream(key, "random"), how.randoms)
    best = erasure.leace(own, told)
    found = [erasure.random(draw, own, 1) for draw in draws] + [best, erasure.mean_projection(own, told)]
    rounds, _ = erasure.inlp(own, told, rounds=how.rounds[-1])
    first = [jnp.arange(how.rounds[-1])[None] < r for r in how.rounds]
    found += [rounds._replace(read=jnp.where(kept, rounds.read, 0)) for kept in first]
    return jnp.stack([x, *(erasure.erase(each, x) for each in found)]), best.left


def moved(x: Array, clean: Array) -> Array:
    """Give the mean square of a change as a share of the variance. x: `[N, D]`. clean: `[..., N, D]`."""
    about = add_row(x, -x.mean(0))
    return jnp.mean((clean - jnp.broadcast_to(x, clean.shape)) ** 2, (-2, -1)) / jnp.mean(about**2)


def by_count(how: How, x: Array, y: Array, fit: Array) -> Array:
    """Erase with LEACE of the first `how.counts` of the fitted rows: `[counts, N, D]`."""

    def one(count: Array) -> Array:
        weights = (jnp.arange(len(fit)) < count).astype(x.dtype)
        return erasure.erase(erasure.leace(x[fit], y[fit].astype(x.dtype), weights=weights), x)

    return jax.lax.map(one, jnp.array(how.counts))


def carried(apply: Apply, params: PyTree, texts: PyTree, eraser: Eraser, site: Array | int) -> Array:
    """Erase at every token after layer `site` (0: the embeddings) and let the rest of the network run.

    texts: `[N, T]`. Gives the means over tokens of all states, `[N, L + 1, D]`. The eraser is one of means: it is
    affine, so erasing every token erases their mean. What tokens hold beside their mean, it leaves.
    """
    edits = Edits(state=at(site, lambda x: erasure.erase(eraser, x)))

    def one(x: PyTree) -> Array:
        return mean(apply(params, x, edits=edits).states, x.mask)

    return jax.lax.map(one, texts, batch_size=128)


def in_network(how: How, apply: Apply, params: PyTree, rows: Rows, parts: Parts) -> dict[tuple[int, int], Array]:
    """Give states `[N, D]` of later layers, by site of erasure and layer; rows of `parts.fit` are left as zeros."""
    told = rows.concept[parts.fit].astype(rows.states.dtype)
    others = jnp.concatenate(parts[1:])
    found = {}
    for site in how.sites:
        eraser = erasure.leace(rows.states[parts.fit, site], told)
        states = carried(apply, params, jax.tree.map(lambda leaf: leaf[others], rows.texts), eraser, site)
        for layer in sorted({*how.layers, how.layer}):
            if layer >= site:
                empty = jnp.zeros_like(rows.states[:, layer])
                found[site, layer] = scaled(empty.at[others].set(states[:, layer]), others)
    return found


def whitened(x: Array, fit: Array, components: int) -> Array:
    """Give the leading principal components of some rows, of variance 1 there: `[N, components]`."""
    about, _, _ = centre_rows(x[fit], jnp.ones(len(fit), x.dtype))
    _, scales, right = svd(compress_rows(about))
    return matmul(add_row(x, -x[fit].mean(0)), right[:components].T / scales[None, :components]) * len(fit) ** 0.5


def monomials(x: Array) -> Array:
    """Give features of degree one and two, `[N, P] -> [N, P + P (P + 1) / 2]`."""
    i, j = jnp.triu_indices(x.shape[1])
    return jnp.concatenate([x, x[:, i] * x[:, j]], 1)


def beyond_linear(how: How, key: Key, x: Array, y: Array, parts: Parts) -> dict[str, Array]:
    """Probe leading components without erasure, after LEACE and after quadratic erasure: `[3]` each, by probe.

    Quadratic erasure is told the class of all rows, those that are scored as well.
    """
    x = whitened(x, parts.fit, how.components)
    maps = quadratic.fit(x[parts.fit], y[parts.fit], classes=2)
    linear = erasure.leace(x[parts.fit], y[parts.fit].astype(x.dtype))
    every = jnp.stack([x, erasure.erase(linear, x), quadratic.erase(maps, x, y)])

    def one(x: Array) -> dict[str, Array]:
        features = monomials(x)
        net, _ = supervised.fit_mlp(
            x[parts.train], y[parts.train].astype(x.dtype), (x[parts.choose], y[parts.choose].astype(x.dtype)),
            keys.stream(key, "net"), weight_decay=0.1, hidden=64, epochs=60, patience=10, batch=64,
        )  # fmt: skip
        said = supervised.predict(net, x[parts.test]) - 0.5
        return {
            "quadratic_fitted": on_fitted(features[parts.fit], y[parts.fit], 1.0).gain,
            "quadratic_held": held_out(features, y, parts).gain,
            "net_above": against_constant(said, y[parts.test], shares(y[parts.train], 2)).above,
        }

    return jax.lax.map(one, every) | {"quadratic_moved": moved(x, every)}


def strength(x: Array, z: Array) -> Array:
    """Give the singular value of W cov(x, z) with z `[N]` in its own units, W = cov(x)^(-1/2): `[]`.

    What concept-erasure 0.2.4 compares with `svd_tol`: the multiple correlation times the deviation of z.
    """
    short = compress_rows(jnp.concatenate([add_row(x, -x.mean(0)), (z - z.mean())[:, None]], 1))
    base, _, _ = svd(short[:, :-1])
    return jnp.sqrt(jnp.sum(matmul(base.T, short[:, -1]) ** 2) / len(x))


def rare(how: How, key: Key) -> dict[str, Array]:
    """Plant a concept of each of `SHARES` in normal rows, erase it, and give what is left: `[len(SHARES)]` each.

    left_fitted: of the difference of means in the fitted rows, as a share of what it was. left_new: of the difference
    of the means that were planted, which is that of new rows in expectation. peer_fitted: as left_fitted, where nothing
    is erased if `strength` is at most `TOLERANCE`. gain_before, gain_after: of a linear probe on the fitted rows, as
    shares of the entropy of the concept.
    """
    u = jax.random.normal(keys.stream(key, "planted"), (how.width,))
    gap = GAP * u / jnp.linalg.norm(u)
    noise = jax.random.normal(keys.stream(key, "rows"), (how.rows, how.width))

    def one(share: Array) -> dict[str, Array]:
        y = (jnp.arange(how.rows) < jnp.round(share * how.rows)).astype(noise.dtype)
        x = noise + y[:, None] * gap[None]
        eraser = erasure.leace(x, y)
        clean = erasure.erase(eraser, x)

        def between(x: Array) -> Array:
            return jnp.linalg.norm(matmul(y, x) / jnp.sum(y) - matmul(1 - y, x) / jnp.sum(1 - y))

        left = between(clean) / between(x)
        rate = jnp.mean(y)
        entropy = -rate * jnp.log(rate) - (1 - rate) * jnp.log1p(-rate)
        before, after = jax.lax.map(lambda x: on_fitted(x, y.astype(jnp.int32)).gain, jnp.stack([x, clean])) / entropy
        return {
            "left_fitted": left, "peer_fitted": jnp.where(strength(x, y) > TOLERANCE, left, 1.0),
            "left_new": jnp.linalg.norm(gap - matmul(matmul(gap, eraser.read), eraser.write)) / GAP,
            "gain_before": before, "gain_after": after,
        }  # fmt: skip

    return jax.lax.map(one, jnp.array(SHARES))


def one_split(how: How, apply: Apply, key: Key, data: tuple[Rows, PyTree]) -> dict[str, Array]:
    """Measure one seed. data: rows, and the network's params."""
    rows, params = data
    parts = divide(keys.stream(key, "split"), len(rows.concept))
    states = {layer: scaled(rows.states[:, layer], parts.fit) for layer in {*how.layers, how.layer}}
    x, y = states[how.layer], rows.concept
    clean, left = erased(how, key, x, y, parts.fit)
    told = y.astype(x.dtype)
    own = {("eraser", i): each for i, each in enumerate(clean)}
    for layer in how.layers:
        eraser = erasure.leace(states[layer][parts.fit], told[parts.fit])
        own |= {("plain", layer): states[layer], ("leace", layer): erasure.erase(eraser, states[layer])}
    jobs = dict(own) | {("count", i): each for i, each in enumerate(by_count(how, x, y, parts.fit))}
    jobs |= {("site", *place): each for place, each in in_network(how, apply, params, rows, parts).items()}
    whole = jax.lax.map(lambda x: on_fitted(x[parts.fit], y[parts.fit]), jnp.stack([*own.values()]))
    both = [(each, y) for each in jobs.values()] + [(each, rows.other) for each in clean]
    new = jax.lax.map(
        lambda job: held_out(job[0], job[1], parts), tuple(jnp.stack(each) for each in zip(*both, strict=True))
    )
    related = jax.lax.map(
        lambda x: held_out(x, rows.related, parts, classes=how.classes, penalties=PENALTIES[:2]), clean
    )
    of = {kind: jnp.array([i for i, name in enumerate(jobs) if name[0] == kind]) for kind, *_ in jobs}
    found = {
        "fitted_rows": jnp.float32(len(parts.fit)), "left": left, "moved": moved(x[parts.fit], clean[:, parts.fit]),
        "related": related.gain,
        "other": new.gain[len(jobs) :], "related_above": related.above, "other_above": new.above[len(jobs) :],
    }  # fmt: skip
    for kind in ("eraser", "plain", "leace"):
        found |= {f"{kind}_fitted": whole.gain[of[kind]], f"{kind}_fitted_above": whole.above[of[kind]]}
    for kind in ("eraser", "plain", "leace", "count", "site"):
        found |= {f"{kind}_held": new.gain[of[kind]], f"{kind}_held_above": new.above[of[kind]]}
    return found | beyond_linear(how, key, x, y, parts) | rare(how, keys.stream(key, "rare"))
