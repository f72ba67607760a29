"""The host loop: walk the chains, resume each at its last sound unit, commit as it goes, leave cleanly when told to.

Every unit is a deterministic function of the state before, so a program that was killed anywhere redoes at most the
units since the last commit and ends with the same bits, as long as both ran the same compiled unit on the same
topology.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np

from interp_jax.core import checks, hosts
from interp_jax.core.types import PyTree
from interp_jax.runs import progress as progress_
from interp_jax.runs.chain import Chain
from interp_jax.runs.parts import ALL, Part
from interp_jax.runs.profile import Profile
from interp_jax.runs.store import Store


class Interrupted(SystemExit):
    """A signal ended the program after a commit; the exit code is 128 + its number (SIGTERM 143, SIGINT 130)."""


def drive(
    chains: Sequence[Chain],
    store: Store,
    *,
    part: Part = ALL,
    finish: Callable[[Chain, PyTree], None] | None = None,
    observe: Callable[[Chain, int, PyTree], None] | None = None,
    stop: Callable[[], bool] | None = None,
    every_seconds: float = 30.0,
    progress: progress_.Progress | None = None,
    profile: Profile | None = None,
) -> bool:
    """Do what is left of this part's chains; give True when all of it is done, False if `stop` ended it.

    A chain's state is committed when `every_seconds` have passed since the last commit, at its end, and before
    leaving; so a kill costs at most the units since then. `finish(chain, state)` gets each chain's final state, now
    or from the store (verified either way; without it finished chains are verified all the same). `observe(chain,
    units, state)` is called after each unit, also when one is redone. `stop()` is asked after each unit. All
    processes of a program call this together and agree, by process 0's clock, on each commit and end.

    Raises:
        Interrupted: after SIGTERM or SIGINT, once the unit at hand is committed; a second signal ends at once.
        SaveError: if a unit cannot be written; what was committed remains.
        StoreError: if the store holds other chains under these names, or another program is at work on one.
    """
    checks.not_negative(every_seconds=every_seconds)
    _distinct(chains)
    mine, told = part.share(chains), progress or progress_.auto()
    told.begin(sum(chain.length for chain in mine))
    try:
        with _signals() as caught, profile or Profile(None) as tracer:
            tell = _Tell(told, tracer, observe, stop, caught)
            for chain in mine:
                with store.claim(chain.name):
                    state, units, reason = _walk(chain, store, every_seconds, tell)
                if finish is not None and units == chain.length:
                    finish(chain, state)
                _, number = _agreed(False, tell.signal())
                if reason or number:
                    store.events.log("stopped", chain=chain.name, units=units, signal=number)
                if number:
                    raise Interrupted(128 + number)
                if units < chain.length:
                    return False
    finally:
        told.close()
    return True


_STOP = -1  # the reason to leave when it is no signal


class _Tell(NamedTuple):
    """Whom the walk tells, and whom it asks for a reason to leave: 0 for none, else a signal's number, or `_STOP`."""

    progress: progress_.Progress
    profile: Profile
    observe: Callable[[Chain, int, PyTree], None] | None
    stop: Callable[[], bool] | None
    caught: list[int]

    def signal(self) -> int:
        return self.caught[0] if self.caught else 0

    def reason(self) -> int:
        return self.signal() or (_STOP if self.stop is not None and self.stop() else 0)


def _walk(chain: Chain, store: Store, every: float, tell: _Tell) -> tuple[PyTree, int, int]:
    """Bring one chain to its end or to a reason to leave; give its state, its units (all committed), the reason."""
    found = store.latest(chain)
    units, state = found or (0, None)
    state = _strong(chain.start()) if found is None else state
    store.events.log("resume" if found else "begin", chain=chain.name, units=units)
    tell.progress.skip(units)
    saved = time.monotonic()
    reason = 0
    while units < chain.length and not reason:
        tell.profile.unit()
        state = _strong(jax.block_until_ready(chain.advance(state, units)))
        units += 1
        tell.progress.advance(f"{chain.name} {units}/{chain.length}")
        if tell.observe is not None:
            tell.observe(chain, units, state)
        due, reason = _agreed(time.monotonic() - saved >= every, tell.reason())
        if due or reason or units == chain.length:
            started = time.monotonic()
            store.commit(chain, units, state)
            saved = time.monotonic()
            reason = reason or _agreed(False, tell.signal())[1]  # it may have come while saving
            store.events.log("commit", chain=chain.name, units=units, seconds=round(saved - started, 3))
    return state, units, reason


def _strong(state: PyTree) -> PyTree:
    """Make weak types strong: the store cannot keep them, and a resumed run would promote otherwise than this one."""
    return jax.tree.map(lambda leaf: leaf.astype(leaf.dtype) if getattr(leaf, "weak_type", False) else leaf, state)


def _agreed(due: bool, reason: int) -> tuple[bool, int]:
    """Settle between processes whether to save (process 0's clock) and whether to leave (anybody's reason)."""
    rows = hosts.gather(np.asarray([due, reason], np.int32))
    reasons = rows[:, 1]
    return bool(rows[0, 0]), int(reasons[np.flatnonzero(reasons)[0]]) if reasons.any() else 0


def _distinct(chains: Sequence[Chain]) -> None:
    names = [chain.name for chain in chains]
    for chain in chains:
        checks.whole(1, **{f"length of chain {chain.name}": chain.length})
    if len(set(names)) < len(names):
        raise ValueError(f"two chains are called {next(n for n in names if names.count(n) > 1)!r}")


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Note SIGTERM and SIGINT instead of dying; the second one has its usual effect. Only the main thread may ask.

    One that is ignored stays so: a shell starts programs in the background with SIGINT ignored.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for number in heeded:
            signal.signal(number, note)
        yield caught
    finally:
        for number in heeded:
            signal.signal(number, before[number])
