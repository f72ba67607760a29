"""What the driver drives: a chain of units, each a function of the state before it."""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import jax

from interp_jax.core.types import PyTree


class Chain(Protocol):
    """A sequence of units of work; a unit is redone at will and committed once.

    `advance` must be a deterministic function of (state, index), and must leave the state it was given usable or not be
    told apart (donating it is fine: the driver does not look back).
    """

    @property
    def name(self) -> str:
        """Its folder in the store: letters, digits, `-`, `_` and `.`, at most 100, not starting with `.`."""
        ...

    @property
    def length(self) -> int:
        """How many units it has, at least one."""
        ...

    def describe(self) -> dict:
        """JSON values that say what the chain is (the ids of its runs, say); written once, before its first unit."""
        ...

    def start(self) -> PyTree:
        """Make the state before unit 0: a tree of arrays, sharded or not."""
        ...

    def advance(self, state: PyTree, index: int) -> PyTree:
        """Do unit `index` of 0 .. length - 1."""
        ...

    def abstract(self) -> PyTree:
        """Give the tree of `ShapeDtypeStruct` that a state is restored to, with shardings; see `abstract`."""
        ...


@dataclasses.dataclass(frozen=True)
class Steps:
    """A chain made of two functions; `like` is the abstract state, by default traced from `begin` on one device.

    >>> Steps("count", 3, lambda: 0, lambda state, index: state + index).advance(1, 2)
    3
    """

    name: str
    length: int
    begin: Callable[[], PyTree]
    step: Callable[[PyTree, int], PyTree]
    record: dict = dataclasses.field(default_factory=dict)
    like: Callable[[], PyTree] | None = None

    def describe(self) -> dict:
        """Give `record`."""
        return self.record

    def start(self) -> PyTree:
        """Call `begin`."""
        return self.begin()

    def advance(self, state: PyTree, index: int) -> PyTree:
        """Call `step`."""
        return self.step(state, index)

    def abstract(self) -> PyTree:
        """Call `like`, or trace `begin`."""
        return jax.eval_shape(self.begin) if self.like is None else self.like()


def abstract(state: PyTree) -> PyTree:
    """Give the abstract tree of a state: shape, dtype and sharding of each jax array, other leaves as they are.

    An array that is not committed to a device has no sharding here, and is not committed when it is restored; else a
    jitted unit would be compiled twice, for fresh and for restored states.

    >>> import jax.numpy as jnp
    >>> abstract({"w": jnp.ones(3), "none": None})["w"].shape
    (3,)
    """

    def of(leaf: object) -> object:
        if isinstance(leaf, jax.Array):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding if leaf.committed else None)
        return leaf

    return jax.tree.map(of, state)
