import os
import signal
import threading

import jax
import jax.numpy as jnp
import pytest

from interp_jax.runs import driver, events, progress
from interp_jax.runs.chain import Steps
from interp_jax.runs.driver import Interrupted, drive
from interp_jax.runs.errors import SaveError, StoreError
from interp_jax.runs.parts import Part
from interp_jax.runs.store import open_store
from tests.runs import toy

QUIET = progress.Quiet()


def counter(name, length=3, done=None, step=None):
    """A chain that counts, and notes the units that it did in `done`."""

    def advance(state, index):
        if done is not None:
            done.append((name, index))
        return (step or (lambda s, i: s + 10**i))(state, index)

    return Steps(name, length, lambda: jnp.zeros((), jnp.int32), advance)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store", {})


def commits(store):
    return [(r["chain"], r["units"]) for r in events.read(store.root / "events.jsonl").records if r["kind"] == "commit"]


def test_everything_is_done_once_in_order(store):
    done, finals = [], {}
    chains = [counter("a", 2, done), counter("b", 3, done)]
    for _ in range(2):  # the second time nothing is left to do
        assert drive(chains, store, finish=lambda c, s: finals.setdefault(c.name, int(s)), progress=QUIET)
        assert done == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2)]
        assert finals == {"a": 11, "b": 111}
        finals.clear()
    assert commits(store) == [("a", 2), ("b", 3)]  # short units: only a chain's end is saved


def test_stop_saves_and_the_next_start_goes_on(store):
    done, asked = [], []

    def stop():
        asked.append(0)
        return len(asked) == 3

    chains = [counter("a", 2, done), counter("b", 3, done)]
    assert not drive(chains, store, stop=stop, progress=QUIET)
    assert commits(store) == [("a", 2), ("b", 1)]
    assert drive(chains, store, stop=lambda: False, progress=QUIET)
    assert done == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2)]


def test_saves_follow_the_clock(store, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(driver.time, "monotonic", lambda: now[0])

    def step(state, index):
        now[0] += 10.0
        return state

    drive([counter("a", 8, step=step)], store, every_seconds=30.0, progress=QUIET)
    assert commits(store) == [("a", 3), ("a", 6), ("a", 8)]
    with pytest.raises(ValueError, match="every_seconds"):
        drive([], store, every_seconds=-1.0)


@pytest.fixture
def foreground():
    """Handle SIGINT as a program in the foreground does, wherever the tests run."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("foreground")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_lets_the_unit_end(store, number, code):
    done = []
    before = signal.getsignal(number)

    def step(state, index):
        if index == 1:
            os.kill(os.getpid(), number)
        return state + 1

    with pytest.raises(Interrupted) as end:
        drive([counter("a", 4, done, step)], store, progress=QUIET)
    assert end.value.code == code
    assert commits(store) == [("a", 2)]
    assert signal.getsignal(number) is before
    assert events.read(store.root / "events.jsonl").records[-1]["signal"] == number


def test_a_signal_in_the_last_unit_is_not_lost(store):
    finals = []
    with pytest.raises(Interrupted):
        drive(
            [counter("a", 1)], store, progress=QUIET, observe=lambda *_: os.kill(os.getpid(), signal.SIGTERM),
            finish=lambda chain, state: finals.append(int(state)),
        )  # fmt: skip
    assert finals == [1]


def test_an_ignored_signal_stays_ignored(store):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        drive([counter("a", 1, step=lambda s, i: (signal.raise_signal(signal.SIGINT), s)[1])], store, progress=QUIET)
    finally:
        signal.signal(signal.SIGINT, before)
    assert commits(store) == [("a", 1)]


@pytest.mark.usefixtures("foreground")
def test_a_second_signal_ends_at_once(store):
    def step(state, index):
        signal.raise_signal(signal.SIGINT)  # handled before it returns: two from os.kill may melt into one
        signal.raise_signal(signal.SIGINT)
        return state

    with pytest.raises(KeyboardInterrupt):
        drive([counter("a", 4, step=step)], store, progress=QUIET)
    assert commits(store) == []


def test_other_threads_cannot_catch_signals_and_need_not(store):
    thread = threading.Thread(target=drive, args=([counter("a")], store), kwargs={"progress": QUIET})
    thread.start()
    thread.join()
    assert commits(store) == [("a", 3)]


def test_an_error_in_a_unit_keeps_what_was_committed(store):
    def step(state, index):
        if index == 2:
            raise RuntimeError("no")
        return state + 1

    with pytest.raises(RuntimeError, match="no"):
        drive([counter("a", 4, step=step)], store, every_seconds=0, progress=QUIET)
    assert store.progress() == {"a": (2, 4)}
    with store.claim("a"):
        pass


def test_an_error_of_a_save_keeps_what_was_committed(store, monkeypatch):
    def fail(root, step, state, chain):
        raise SaveError("no room")

    drive([counter("a", 2)], store, progress=QUIET)
    monkeypatch.setattr("interp_jax.runs.checkpoint.save", fail)
    with pytest.raises(SaveError, match="no room"):
        drive([counter("a", 2), counter("b", 2)], store, progress=QUIET)
    assert store.progress() == {"a": (2, 2), "b": (0, 2)}


def test_parts_share_the_chains_and_a_folder(store):
    chains = [counter(name, 1) for name in "abcde"]
    for i in (1, 2):
        drive(chains, store, part=Part(i, 2), progress=QUIET)
        assert sorted(store.progress()) == list("ab" if i == 1 else "abcde")
    assert len(commits(store)) == 5


def test_bad_chains_are_refused(store):
    with pytest.raises(ValueError, match="two chains are called 'a'"):
        drive([counter("a"), counter("a")], store)
    with pytest.raises(ValueError, match="length of chain a"):
        drive([counter("a", 0)], store)
    with store.claim("a"), pytest.raises(StoreError, match="another program"):
        drive([counter("a")], store, progress=QUIET)


def test_observed_states_are_those_of_the_plain_loop(store):
    seen = []
    drive(
        [toy.chain(3)], store, observe=lambda c, units, s: seen.append((units, jax.device_get(s["w"]))), progress=QUIET
    )
    assert [units for units, _ in seen] == [1, 2, 3, 4]
    for units, w in seen:
        assert w.tobytes() == jax.device_get(toy.after(3, units)["w"]).tobytes()


def test_restored_and_fresh_states_share_one_compiled_unit(store):
    compiled = []

    def listen(event, seconds, **more):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append("one_unit" in str(more))

    jax.monitoring.register_event_duration_secs_listener(listen)

    @jax.jit
    def one_unit(s, i):
        return {"n": s["n"] + i, "key": jax.random.fold_in(s["key"], i)}

    chains = [Steps(n, 3, lambda: {"n": jnp.zeros(()), "key": jax.random.key(0)}, one_unit) for n in "ab"]
    drive(chains, store, stop=lambda: True, progress=QUIET)
    assert sum(compiled) == 1
    drive(chains, store, progress=QUIET)
    assert sum(compiled) == 1


def test_weak_types_do_not_tell_a_resumed_run_from_another(store, tmp_path):
    step = jax.jit(lambda s, i: {"scale": s["scale"] * 1.1, "x": (s["x"] * s["scale"]).astype(s["x"].dtype)})
    chain = Steps("a", 6, lambda: {"scale": jnp.asarray(1.3), "x": jnp.ones(5, jnp.bfloat16) / 3}, step)
    finals = []
    for root, stop in ((store, lambda: True), (open_store(tmp_path / "other", {}), None)):
        while not drive([chain], root, stop=stop, finish=lambda c, s: finals.append(s), progress=QUIET):
            pass
    assert toy.same(*finals[-2:])
