"""Data sets that hold only robust or only non-robust features, and the controls to read them by (Ilyas et al. 2019).

    D_R, D_NR     `imitate`: from another image, descend to x's representation in a robust (standard) model; label of x
    D_rand        `construct` with `relabel_random`: attack towards a class drawn from all, and label with it
    D_det         `construct` with `relabel_next`: the same towards y + 1, so that every label is wrong
    D_other       `construct` with `relabel_other`: towards a class drawn from the others

A student trained on them and tested on clean images says what their labels carry. It may be something else than the
perturbation, and so beside it belong

- target hits (`Made.hit`): an attack that does not reach its target leaves the image and a wrong label;
- noise of the same norm, example by example (`Made.noise`): what the labels teach without an attack;
- accuracy on the class after the true one (`score`): what D_det teaches if the attack carries nothing;
- a stamp (`stamp`): one meaningless pattern a class, of the same norm. D_rand labels 1/K of its examples truly, and a
  student that reads all others by their stamp learns the classes from those;
- leakage (`leakage`): what a linear classifier on robust linear features alone learns from the constructed data.

Clean accuracy of students (and of `leakage`) on scikit-learn's digits, MLP 64-256-256-10, L2 1.5, 50 steps, means of 4
seeds on 597 images (standard errors over seeds .012 or less, of `leakage` .019 or less):

              attack  noise  stamp  leakage
    D_rand     .90     .10    .86     .92
    D_det      .71     .00    .04     .68
    D_other    .89     .00    .07     .92

So a high number for D_rand says little; D_det and D_other have no true label to leak. (`leakage` used ten ridge
features, of which eight meet its conditions at a radius of .25 and none at 1.5: they are linear and not robust here.)
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.adversarial import norms, objectives
from interp_jax.adversarial.attack import UNIT, Bounds, region
from interp_jax.adversarial.norms import Norm
from interp_jax.adversarial.objectives import Predict
from interp_jax.adversarial.pgd import pgd
from interp_jax.core import checks, keys
from interp_jax.core.linalg import matmul
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.linear import fits, logistic

Represent = Callable[[Array], Array]
"""`represent(x) -> [...]`, of one example."""

FAR = 1e4
ANYWHERE = norms.l2._replace(within=lambda d, eps, low, high: jnp.clip(d, low, high))
"""L2 steps with no ball: only the bounds of the input confine them."""


class Inversion(NamedTuple):
    """An image whose representation comes close to a target, for one example.

    x: `[...]`, the best iterate. error: `|g(x) - target| / |target|` there, NaN for a target of zero. moved: L2
    distance from the start. last, last_error: the last iterate. curve: `[steps + 1]`, the error of every iterate.
    flat: the share of steps without a usable gradient.
    """

    x: Array
    error: Array
    moved: Array
    last: Array
    last_error: Array
    curve: Array
    flat: Array


class Made(NamedTuple):
    """One example of a constructed data set, beside its control.

    x: `[...]`, the attacked image. target: the label to train with. hit: whether the attacked model sees the target.
    size: `|x - original|`. noise: `[...]`, the original with a random perturbation of that size. noise_size, noise_hit:
    of it; `noise_size` falls short of `size` only where the bounds leave no room.
    """

    x: Array
    target: Array
    hit: Array
    size: Array
    noise: Array
    noise_size: Array
    noise_hit: Array


class Scores(NamedTuple):
    """correct, following: `[N]` booleans, whether the class said is y, and whether it is y + 1 (mod K)."""

    correct: Array
    following: Array


class Leakage(NamedTuple):
    """What robust linear features alone explain: the scores `[N]` on test examples, the fit, and its train accuracy."""

    scores: Scores
    fit: fits.LinearFit
    trained: Array


def invert(
    represent: Represent,
    start: Array,
    target: Array,
    *,
    steps: int = 1000,
    step_size: ArrayLike = 0.1,
    bounds: Bounds | None = UNIT,
) -> Inversion:
    """Descend `|g(x) - target|_2` from `start` by L2-normalised steps (Ilyas et al. 2019, section 3.1).

    The defaults are the paper's. The best iterate is kept, where the reference takes the last: a fixed step ends by
    circling the minimum at about its own length. If g is injective near x, the result is x itself: then the data set
    made of it holds all features (narrow representations are what makes D_R).

    >>> invert(lambda x: x[:1], jnp.zeros(2), jnp.array([0.5]), steps=8).x.round(6).tolist()
    [0.5, 0.0]

    Args:
        represent: g, one example to an array; the penultimate layer in the paper.
        start: one example, another training image in the paper (`other`).
        target: g at the image to imitate.
        steps: gradients taken.
        step_size: L2 length of a step, may be traced.
        bounds: of the input, None for none.
    """
    chex.assert_equal_shape([jax.eval_shape(represent, start), target])

    def closeness(x: Array) -> Array:
        return -norms.safe_norm(represent(x) - target)

    unused = jax.random.key(0)
    found = pgd(
        closeness,
        start,
        unused,
        eps=0.0,
        step_size=step_size,
        steps=steps,
        norm=ANYWHERE,
        bounds=bounds,
        random_start=False,
    )
    size = norms.safe_norm(target)
    size = jnp.where(size > 0, size, jnp.nan)
    return Inversion(
        x=found.x,
        error=-found.objective / size,
        moved=norms.safe_norm(found.x - start),
        last=found.last,
        last_error=-found.last_objective / size,
        curve=-found.curve / size,
        flat=found.flat,
    )


def imitate(
    represent: Represent,
    x: Array,
    start: Array,
    *,
    steps: int = 1000,
    step_size: ArrayLike = 0.1,
    bounds: Bounds | None = UNIT,
) -> tuple[Inversion, Array]:
    """Make the example of D_R (D_NR) for x, and give its L2 distance to x; it is to be labelled as x is.

    represent: of a robust model for D_R, of a standard one for D_NR. start: another image. The rest as in `invert`.
    """
    chex.assert_equal_shape([x, start])
    found = invert(represent, start, represent(x), steps=steps, step_size=step_size, bounds=bounds)
    return found, norms.safe_norm(found.x - x)


def other(key: Key, i: ArrayLike, count: int) -> Array:
    """Draw an index from `0 .. count - 1` that is not i, for a start; the key is shared, i is folded in.

    >>> jax.vmap(lambda i: other(jax.random.key(0), i, 2))(jnp.arange(2)).tolist()
    [1, 0]
    """
    checks.whole(2, count=count)
    i = jnp.asarray(i)
    return (i + jax.random.randint(jax.random.fold_in(key, i), (), 1, count)) % count


def relabel_random(key: Key, classes: int) -> Array:
    """Draw a target for D_rand from all classes, the true one included."""
    checks.whole(2, classes=classes)
    return jax.random.randint(key, (), 0, classes)


def relabel_next(label: ArrayLike, classes: int) -> Array:
    """Give the target of D_det, `y + 1 mod K`; -1, which objectives read as NaN, for a label out of range.

    >>> [relabel_next(y, 3).item() for y in (0, 2, 3)]
    [1, 0, -1]
    """
    return _shift(label, 1, classes)


def relabel_other(key: Key, label: ArrayLike, classes: int) -> Array:
    """Draw a target from the classes that are not the label; -1 for a label out of range."""
    checks.whole(2, classes=classes)
    return _shift(label, jax.random.randint(key, (), 1, classes), classes)


def _shift(label: ArrayLike, by: ArrayLike, classes: int) -> Array:
    checks.whole(2, classes=classes)
    label = jnp.asarray(label)
    return jnp.where((label >= 0) & (label < classes), (label + by) % classes, -1)


def construct(
    predict: Predict,
    x: Array,
    target: ArrayLike,
    key: Key,
    *,
    eps: ArrayLike,
    step_size: ArrayLike,
    steps: int,
    norm: Norm = norms.l2,
    bounds: Bounds | None = UNIT,
) -> Made:
    """Make one example of D_rand or D_det, by targeted PGD from x, and its noise control.

    `max over |d| <= eps of log p(target | x + d)`, in steps normalised in the norm; for CIFAR-10 the paper has L2,
    eps .5, step .1, 100 steps. key: of the noise. Where eps, target or x is out of range and tracing hides it, both
    images are x, both sizes NaN, and nothing is hit.

    The last iterate is taken, as in the paper, and not the best as in `pgd`. With this objective the two agree (on
    digits, MLP, L2 1.5: sizes 1.49 where the target is the label already, 1.50 elsewhere). Where log p rounds to 0, as
    `log_softmax` does in float32, the best came early (.35 and 1.46, 2 seeds), its size told which labels of D_rand
    are true, and noise of such sizes taught .58 clean accuracy, against .09 for that of the last.
    """
    objective = objectives.target_cross_entropy(predict, target)
    found = pgd(
        objective, x, key, eps=eps, step_size=step_size, steps=steps, norm=norm, bounds=bounds, random_start=False
    )
    sound = jnp.isfinite(found.last_objective)
    made = jnp.where(sound, found.last, x)
    size = norm.size(made - x)
    noise = noise_of_size(x, keys.stream(key, "noise"), size=size, norm=norm, bounds=bounds)
    return Made(
        x=made,
        target=jnp.asarray(target),
        hit=objective(made).fooled & sound,
        size=jnp.where(sound, size, jnp.nan),
        noise=noise,
        noise_size=jnp.where(sound, norm.size(noise - x), jnp.nan),
        noise_hit=objective(noise).fooled & sound,
    )


def noise_of_size(x: Array, key: Key, *, size: ArrayLike, norm: Norm = norms.l2, bounds: Bounds | None = UNIT) -> Array:
    """Add noise of exactly this norm: a uniform direction, lengthened until what the bounds leave of it has the size.

    For L2 and Linf. Clipping noise of that norm instead would shorten it, on a black image by 29% in L2. If the bounds
    leave too little room along the direction, all of the room is taken.
    """
    direction = norm.sample(key, x.shape, jnp.ones(())).astype(x.dtype)
    return stamp(x, direction, size=size, norm=norm, bounds=bounds)


def stamp(x: Array, pattern: Array, *, size: ArrayLike, norm: Norm = norms.l2, bounds: Bounds | None = UNIT) -> Array:
    """Add `clip(c pattern)`, the clip at the bounds, with c such that what is added has this norm (L2 or Linf).

    With one pattern a class (`patterns`), the target's, and size 0 where the target is the label (or where the model
    sees the target anyway), this makes a D_rand (D_det) whose perturbations hold nothing: what a student then knows of
    clean images leaked through the choice of examples. A published script trains to .76 to .80 clean accuracy on such a
    D_rand of CIFAR-10, and .25 to .39 on a D_det.

    A size out of range that tracing hides leaves x as it is.

    >>> round(norms.l2.size(stamp(jnp.zeros(4), jnp.array([1.0, 1.0, -1.0, 1.0]), size=0.5)).item(), 6)
    0.5
    """
    chex.assert_equal_shape([x, pattern])
    where = region(x, size, norm, bounds)
    top = jnp.max(jnp.abs(pattern))
    unit = pattern / jnp.where(top > 0, top, 1.0)
    scale = jnp.maximum(where.eps, 1.0)
    added = where.confine(unit * (FAR * scale))
    return jnp.where(where.sound(), where.point(added), x)


def patterns(key: Key, classes: int, shape: tuple[int, ...], *, period: int = 4) -> Array:
    """Draw a stamp for each class, `[K, *shape]`: Gaussian tiles of `period` repeated over the first two axes.

    Repeated patterns are easy for a convolutional network to learn, as a stamp must be; inputs of one axis get no
    tiles.
    """
    checks.whole(1, period=period, classes=classes)
    tile = tuple(min(period, n) if axis < 2 and len(shape) > 1 else n for axis, n in enumerate(shape))
    drawn = jax.random.normal(key, (classes, *tile))
    repeats = (1, *(-(-n // m) for n, m in zip(shape, tile, strict=True)))
    return jnp.tile(drawn, repeats)[(slice(None), *(slice(n) for n in shape))]


def score(predicted: Array, labels: Array, classes: int) -> Scores:
    """Compare classes said with labels, `[N]` integers; a mean over either is an accuracy.

    >>> score(jnp.array([0, 2, 1]), jnp.array([0, 1, 2]), 3)
    Scores(correct=Array([ True, False, False], dtype=bool), following=Array([False,  True, False], dtype=bool))
    """
    chex.assert_rank([predicted, labels], 1)
    chex.assert_equal_shape([predicted, labels])
    return Scores(predicted == labels, predicted == relabel_next(labels, classes))


def leakage(
    weight: Array,
    xs: Array,
    targets: Array,
    test_xs: Array,
    test_labels: Array,
    *,
    classes: int,
    alpha: ArrayLike = 1.0,
) -> Leakage:
    """Train on the robust linear features of constructed data, and test on those of clean data (Goh 2019).

    `f(x) = W'x`, standardised on the constructed data;
    `(V, c) = argmin sum_n CE(V'f(x_n) + c, t_n) + alpha / 2 |V|^2`; the scores are of `argmax V'f(x) + c` on the test
    data. Accuracy above chance can have come through these features alone, and so is a LOWER bound of what robust
    features explain; none found bounds nothing, for features that are not linear, or not among these, may leak. Below
    chance with many `following` is the opposite: the features kept y, which D_det labels y + 1.

    That the features are robust, at the radius of the attack, is the caller's to certify: by
    `usefulness.linear_robust_usefulness` of each column at least 0 for one class (Goh's first specification) and
    `usefulness.stable` for 80% of the test data (his second). He took ten features of a robust linear model, at L2 .25
    on CIFAR-10, and reports 23.5 points for D_rand and no leakage for D_det. He fits the paper's eq. 3, a linear loss
    for two classes; this is its multi-class counterpart.

    Args:
        weight: W `[D, F]`, one column a feature.
        xs: constructed examples, `[N, ...]` of D entries each.
        targets: their labels `[N]`, integers.
        test_xs: clean examples, `[M, ...]`.
        test_labels: their true labels `[M]`.
        classes: K.
        alpha: penalty of the softmax fit, as in `linear.logistic.fit_softmax`.
    """
    chex.assert_rank([weight, targets, test_labels], [2, 1, 1])
    chex.assert_equal_shape_prefix([xs, targets], 1)
    chex.assert_equal_shape_prefix([test_xs, test_labels], 1)
    made, test = (matmul(a.reshape(len(a), -1), weight) for a in (xs, test_xs))
    deviation = jnp.std(made, 0)
    unit = (1 / jnp.where(deviation > 0, deviation, jnp.inf))[None, :]
    fit = logistic.fit_softmax(made * unit, jax.nn.one_hot(targets, classes, dtype=made.dtype), alpha)
    said = jnp.argmax(fits.predict(fit, test * unit), 1)
    trained = fits.accuracy(fits.predict(fit, made * unit), targets)
    return Leakage(score(said, test_labels, classes), fit, trained)
