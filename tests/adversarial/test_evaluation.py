import os
import signal
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.adversarial import evaluation, norms, objectives
from interp_jax.adversarial.pgd import pgd
from interp_jax.runs import progress
from interp_jax.runs.driver import Interrupted
from interp_jax.runs.errors import StoreError
from tests.adversarial import nets

PARAMS = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), nets.weights())
XS = np.asarray(nets.examples(23))
LABELS = np.array(jax.vmap(partial(nets.mlp, PARAMS))(XS)).argmax(-1)
LABELS[:4] = (LABELS[:4] + 1) % nets.CLASSES  # four that the clean model has wrong
TRACES, EPS = [], 0.15


def member(steps, noted=None):
    def attack(predict, x, label, key, eps):
        TRACES.append(noted)
        return pgd(objectives.cross_entropy(predict, label), x, key, eps=eps, step_size=0.3 * eps, steps=steps)

    return attack


MEMBERS = {"weak": member(1), "strong": member(8)}
RUN = evaluation.evaluator(nets.mlp, MEMBERS, batch=8)


def test_the_ensemble_is_never_above_its_members_and_each_sees_what_is_left(key):
    full = RUN(PARAMS, XS, LABELS, key, eps=EPS, all_members=True)
    short = RUN(PARAMS, XS, LABELS, key, eps=EPS)
    np.testing.assert_array_equal(full.standing, short.standing)
    for fell in full.fell.values():
        assert full.accuracy <= (full.correct & ~fell).mean()
    assert not (short.fell["weak"] & short.fell["strong"]).any()
    np.testing.assert_array_equal(full.standing, full.correct & ~full.fell["weak"] & ~full.fell["strong"])
    assert not full.correct[:4].any()
    assert 0 < full.accuracy < full.correct.mean()


def test_its_examples_are_in_the_ball_and_fool_the_model(key):
    found = RUN(PARAMS, XS, LABELS, key, eps=EPS)
    fallen = found.correct & ~found.standing
    assert np.abs(found.x - XS).max() <= EPS * (1 + 1e-5)
    guessed = np.array(jax.vmap(partial(nets.mlp, PARAMS))(found.x)).argmax(-1)
    assert (guessed[fallen] != LABELS[fallen]).all()
    np.testing.assert_array_equal(found.x[~fallen], XS[~fallen])


def test_an_examples_outcome_does_not_depend_on_the_others_or_on_the_batch(key):
    first = RUN(PARAMS, XS, LABELS, key, eps=EPS)
    other = evaluation.evaluator(nets.mlp, MEMBERS, batch=5)(PARAMS, XS[:11], LABELS[:11], key, eps=EPS)
    np.testing.assert_allclose(first.x[:11], other.x, atol=1e-6)


def test_one_program_an_attack_whatever_eps_parameters_and_what_is_left(key):
    RUN(PARAMS, XS, LABELS, key, eps=EPS)
    before = len(TRACES)
    RUN(jax.tree.map(lambda leaf: 2 * leaf, PARAMS), XS[:9], LABELS[:9], key, eps=0.1)
    assert len(TRACES) == before


class Told(progress.Quiet):
    """Counts batches; sends SIGTERM to the program after some."""

    def __init__(self, stop=-1):
        self.stop, self.found, self.done = stop, 0, 0

    def skip(self, units):
        self.found += units

    def advance(self, note):
        self.done += 1
        if self.done == self.stop:
            os.kill(os.getpid(), signal.SIGTERM)


def same(one, other):
    assert one.fell.keys() == other.fell.keys()
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_that_is_killed_again_and_again_goes_on_and_ends_with_the_same_bits(stop, key, tmp_path):
    wanted, done = RUN(PARAMS, XS, LABELS, key, eps=EPS), []

    def run(stop=-1):
        done.append(Told(stop))
        return RUN(PARAMS, XS, LABELS, key, eps=EPS, out=tmp_path / "run", progress=done[-1])

    left = [wanted.correct.sum(), (wanted.correct & ~wanted.fell["weak"]).sum()]
    batches = sum(-(-int(n) // 8) for n in (len(XS), *left))
    for _ in range(batches // stop):
        with pytest.raises(Interrupted, match="143"):
            run(stop)
    same(run(), wanted)
    assert sum(told.done for told in done) == batches, "no batch is done twice"
    again = Told()
    same(RUN(PARAMS, XS, LABELS, key, eps=EPS, out=tmp_path / "run", progress=again), wanted)
    assert (again.found, again.done) == (batches, 0)


def test_a_folder_is_refused_to_another_evaluation(key, tmp_path):
    strong = MEMBERS["strong"]

    def run(members=strong, params=PARAMS, xs=XS[:4], labels=LABELS[:4], key=key, eps=0.1, batch=4):
        evaluate = evaluation.evaluator(nets.mlp, {"strong": members}, batch=batch)
        return evaluate(params, xs, labels, key, eps=eps, out=tmp_path, progress=progress.Quiet())

    run()
    others = {
        "params": {"params": jax.tree.map(lambda leaf: 2 * leaf, PARAMS)},
        "examples": {"xs": XS[:4] * np.float32(0.5)},
        "labels": {"labels": LABELS[4:8]},
        "key": {"key": jax.random.key(1)},
        "eps": {"eps": 0.2},
        "batch": {"batch": 2},
        "programs": {"members": member(5)},
    }
    for name, change in others.items():
        with pytest.raises(StoreError, match=f"holds another configuration .*{name}") as caught:
            run(**change)
        assert "\n" not in str(caught.value)


def test_the_curve_falls_with_eps_and_counts_each_radius_alone(key):
    epsilons = [0.15, 0.0, 0.08]
    standing = evaluation.curve(RUN, PARAMS, XS, LABELS, key, epsilons=epsilons)
    np.testing.assert_array_equal(standing[1], RUN(PARAMS, XS, LABELS, key, eps=0.0).correct)
    assert (standing[0] <= standing[2]).all()
    assert (standing[2] <= standing[1]).all()
    alone = RUN(PARAMS, XS, LABELS, key, eps=0.08)
    assert standing[2].sum() <= alone.standing.sum() + 1


def test_an_attack_cannot_be_called_clean():
    with pytest.raises(ValueError, match="want attacks by other names than 'clean'"):
        evaluation.evaluator(nets.mlp, {"clean": member(1)})


def test_nothing_left_and_undefined_objectives(key):
    wrong = RUN(PARAMS, XS[:2], LABELS[:2], key, eps=0.1)
    assert wrong.accuracy == 0.0
    assert not any(fell.any() for fell in wrong.fell.values())
    weak = {"weak": MEMBERS["weak"]}
    broken = evaluation.evaluator(lambda params, x: jnp.log(-jnp.ones(4)) * x.sum(), weak, batch=4)
    found = broken(PARAMS, XS[:4], np.zeros(4, int), key, eps=0.1)
    assert found.undefined.all()
    assert found.standing.all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": -1.0}, "want eps >= 0"),
        ({"labels": LABELS[:3]}, "prefix|shape"),
        ({"xs": XS[:0], "labels": LABELS[:0]}, "at least one"),
    ],
)
def test_bad_input_is_named(changes, message, key):
    given = {"xs": XS, "labels": LABELS, "eps": 0.1} | changes
    with pytest.raises((ValueError, AssertionError), match=message):
        RUN(PARAMS, given["xs"], given["labels"], key, eps=given["eps"])


BALLS = {"linf": (norms.linf, 0.1), "l2": (norms.l2, 0.6), "l1": (norms.l1, 1.5)}


@pytest.mark.parametrize("name", ["linf", *(pytest.param(name, marks=pytest.mark.slow) for name in ("l2", "l1"))])
def test_the_standard_ensemble_is_at_least_as_strong_as_pgd(name, key):
    norm, eps = BALLS[name]
    members = evaluation.standard(norm=norm, steps=10, queries=30, targets=2)
    found = evaluation.evaluator(nets.mlp, members, batch=23)(PARAMS, XS, LABELS, key, eps=eps)

    def plain(predict, x, label, key, eps):
        loss = objectives.cross_entropy(predict, label)
        return pgd(loss, x, key, eps=eps, step_size=0.2 * eps, steps=20, norm=norm)

    by_pgd = evaluation.evaluator(nets.mlp, {"pgd": plain}, batch=23)(PARAMS, XS, LABELS, key, eps=eps)
    assert found.standing.sum() <= by_pgd.standing.sum()
    assert found.standing.sum() < found.correct.sum()
    assert (jax.vmap(norm.size)(found.x - XS) <= eps * (1 + 1e-5)).all()


def test_the_standard_ensemble_sees_no_gradient_last_and_has_no_square_in_l1():
    names = ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert [*evaluation.standard()] == [*evaluation.standard(norm=norms.l2)] == names
    assert [*evaluation.standard(norm=norms.l1)] == names[:3]
