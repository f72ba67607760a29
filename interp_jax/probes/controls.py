"""Controls that make a probe's accuracy mean something: control tasks, dealt labels, noise, what a baseline knows.

    probe = softmax(classes=12, alpha=1.0)
    right = score(probe, Task(x, tags, weights), Task(x_test, tags_test))
    dealt = control_task(key, words, tags, classes=12, types=5000)        # one label a word, wherever it stands
    selectivity(accuracy, control_accuracy, repeated(words_train, words_test))

A probe is ONE function `(x, y, weights, x_new) -> logits`, which fits and predicts, so that a linear one, a perceptron
(`probes.supervised`) or your own go through every control alike. Numbers are of one split and one order; the caller
`vmap`s over layers, seeds and targets, and takes intervals over what was replicated.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.linear import logistic
from interp_jax.linear.fits import accuracy, predict

Probe = Callable[[Array, Array, Array, Array], Array]
"""Fits and predicts: `(x [N, D], y [N] classes, weights [N], x_new [M, D]) -> logits [M, C]`."""


class Task(NamedTuple):
    """Representations `[N, D]` and classes `[N]`, integers."""

    x: Array
    y: Array


class Score(NamedTuple):
    """accuracy: `[]`, a share. loss: `[]`, mean negative log likelihood in bits."""

    accuracy: Array
    loss: Array


def softmax(classes: int, alpha: ArrayLike = 1.0, *, steps: int = 200, tol: float = 1e-5) -> Probe:
    """Make the linear probe: softmax regression, `alpha |weight|^2 / 2` on the SUM of losses (scikit-learn's 1 / C)."""
    checks.whole(2, classes=classes)

    def probe(x: Array, y: Array, weights: Array, x_new: Array) -> Array:
        told = jax.nn.one_hot(y, classes, dtype=x.dtype)
        return predict(logistic.fit_softmax(x, told, alpha, weights=weights, steps=steps, tol=tol), x_new)

    return probe


def score(probe: Probe, train: Task, test: Task, *, weights: Array | None = None) -> Score:
    """Fit a probe on some examples and score it on others. A class that was never fitted makes the loss infinite."""
    chex.assert_equal_shape_prefix([train.x, train.y], 1)
    chex.assert_equal_shape_prefix([test.x, test.y], 1)
    weights = jnp.ones(len(train.y), train.x.dtype) if weights is None else weights
    logits = probe(train.x, train.y, weights, test.x)
    return Score(accuracy(logits, test.y), -jnp.mean(logistic.log_likelihood(logits, test.y)) / jnp.log(2.0))


def control_task(key: Key, types: Array, labels: Array, *, count: int) -> Array:
    """Deal one label to each type, at random, as often as labels occur: `[N]` (Hewitt and Liang 2019, section 2).

    A probe can learn it only by heart. Each type draws from the distribution of `labels` over examples, as theirs for
    parts of speech, so that the majority is as large as in the task itself.

    Args:
        key: of this control; average over several.
        types: `[N]`, number of each example's type (word), of train and test together: a type has one label in both.
        labels: `[N]`, the task's.
        count: types there may be, more than the largest number.
    """
    checks.whole(1, count=count)
    types, labels = jnp.asarray(types), jnp.asarray(labels)
    chex.assert_rank([types, labels], 1)
    chex.assert_equal_shape([types, labels])
    dealt = labels[jax.random.randint(keys.stream(key, "control task"), (count,), 0, len(labels))]
    return dealt.at[types].get(mode="fill", fill_value=-1)


def dealt_labels(key: Key, labels: Array) -> Array:
    """Deal the labels to other examples: what a probe scores when nothing is to be learned."""
    return jax.random.permutation(keys.stream(key, "dealt labels"), labels)


def noise(key: Key, x: Array) -> Array:
    """Give noise in the place of representations: normal, each feature with its own mean and deviation."""
    drawn = jax.random.normal(keys.stream(key, "noise"), x.shape, x.dtype)
    return jnp.mean(x, 0)[None] + jnp.std(x, 0)[None] * drawn


def repeated(train: Array, test: Array, *, count: int) -> Array:
    """Give the share of test examples whose type was trained on. train, test: types `[N]`, `[M]`, under `count`."""
    checks.whole(1, count=count)
    seen = jnp.zeros(count, bool).at[train].set(True, mode="drop")
    return jnp.mean(seen.at[test].get(mode="fill", fill_value=False))


def selectivity(task: ArrayLike, control: ArrayLike, repeated: ArrayLike) -> Array:
    """Give the accuracy on a task less that on its control task (Hewitt and Liang 2019, section 2.2).

    repeated: share of test examples of types that were trained on. Where it is 0 no probe, however large, can know a
    control label, and the difference would be accuracy less chance under another name: NaN.
    """
    return jnp.where(jnp.asarray(repeated) > 0, jnp.asarray(task) - jnp.asarray(control), jnp.nan)


def conditional(
    probe: Probe, baseline: tuple[Array, Array], train: Task, test: Task, *, weights: Array | None = None
) -> Array:
    """Give what representations tell beyond a baseline, in bits an example (Hewitt et al. 2021, eq. 4): `[]`.

        I(R -> Y | B) = H(Y | B) - H(Y | B, R)

    each H the held-out loss of the probe on the features side by side; in the first, representations are zeros, so that
    the second's probes include the first's. It can be negative, by what more features overfit.

    baseline: features `[N, B]` of the training and `[M, B]` of the test examples.
    """
    chex.assert_rank(list(baseline), 2)

    def side_by_side(known: Array, x: Array) -> Array:
        return jnp.concatenate([known, x], 1)

    losses = [
        score(
            probe,
            Task(side_by_side(baseline[0], keep * train.x), train.y),
            Task(side_by_side(baseline[1], keep * test.x), test.y),
            weights=weights,
        ).loss
        for keep in (0.0, 1.0)
    ]
    return losses[0] - losses[1]
