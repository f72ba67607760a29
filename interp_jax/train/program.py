"""The two compiled programs of a sweep: how a group of runs begins, and how it advances by one chunk of steps."""

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from interp_jax.core.types import Array, PyTree
from interp_jax.runs.chain import abstract
from interp_jax.train import meshes
from interp_jax.train.trainer import Trainer

Make = Callable[..., Trainer]


class Group(NamedTuple):
    """The state of a group of W runs, every leaf `[W, ...]`, sharded over runs.

    states: the Trainer's, stacked. history: metric -> `[W, chunks]`, the mean over each chunk's steps, NaN where not
    yet run. diverged: `[W]` int32, the chunk in which a metric or the state first was not finite, -1 if none.
    """

    states: PyTree
    history: dict[str, Array]
    diverged: Array


class Shape(NamedTuple):
    """What is fixed when the programs compile.

    width: runs in a group. batch: runs a device vectorises together (the rest of its share waits in a loop); it alone
    decides the bits of a run. steps, chunk: the length of a run, and of a unit. precision: of matrix products.
    """

    width: int
    batch: int
    steps: int
    chunk: int
    precision: str = "highest"

    @property
    def chunks(self) -> int:
        """Give the number of units of a run."""
        return self.steps // self.chunk


class Program(NamedTuple):
    """The compiled programs.

    begin: `(hyperparameters {name: [W]}, seeds [W]) -> Group`. advance by one chunk: `(group, hyperparameters, data,
    index) -> Group`; it consumes the group it is given. seconds: spent on compiling. bytes: at the peak, on one device.
    """

    begin: Callable[..., Group]
    advance: Callable[..., Group]
    abstract: Group
    seconds: float
    bytes: int


def over_runs(f: Callable, runs: PyTree, batch: int) -> PyTree:
    """Apply `f` to each of the runs of one device: `batch` at a time vectorised, the batches one after another.

    The inner program is the same whatever the number of runs: a run's bits do not depend on how many share its device.
    """
    if batch == 1:
        return jax.lax.map(f, runs)
    blocks = jax.tree.map(lambda leaf: leaf.reshape(-1, batch, *leaf.shape[1:]), runs)
    done = jax.lax.map(jax.vmap(f), blocks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), done)


def advance_runs(f: Callable, runs: PyTree, others: PyTree, batch: int) -> PyTree:
    """Replace each run by `f(run, other)`, as `over_runs` but in the runs' own memory: no second copy of all states."""
    blocks = jax.tree.leaves(runs)[0].shape[0] // batch

    def advance(i: Array, runs: PyTree) -> PyTree:
        some = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, i * batch, batch), (runs, others))
        done = over_runs(lambda pair: f(*pair), some, batch)
        return jax.tree.map(lambda leaf, new: jax.lax.dynamic_update_slice_in_dim(leaf, new, i * batch, 0), runs, done)

    return jax.lax.fori_loop(0, blocks, advance, runs)


def _finite(tree: PyTree) -> Array:
    """Tell whether every float of a tree is finite."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return functools.reduce(jnp.logical_and, [jnp.isfinite(leaf).all() for leaf in floats], jnp.bool_(True))


def _advance_one(make: Make, shape: Shape, data: PyTree, index: Array, group: Group, hyperparameters: PyTree) -> Group:
    """Advance one run by chunk `index`: a scan over its steps."""
    trainer = make(**hyperparameters)
    times = index * shape.chunk + jnp.arange(shape.chunk, dtype=jnp.int32)
    states, metrics = jax.lax.scan(lambda state, t: trainer.step(state, data, t), group.states, times)
    fine = _finite(metrics) & _finite(states)
    diverged = jnp.where((group.diverged < 0) & ~fine, index, group.diverged)
    history = {name: group.history[name].at[index].set(metrics[name].mean()) for name in group.history}
    return Group(states, history, diverged)


def _metric_names(make: Make, states: PyTree, hyperparameters: PyTree, data: PyTree) -> list[str]:
    """Find which scalars a step reports, without running it."""

    def one(state: PyTree, hypers: PyTree, data: PyTree) -> dict[str, Array]:
        return make(**hypers).step(state, data, jnp.int32(0))[1]

    first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), (states, hyperparameters))
    metrics = jax.eval_shape(one, *first, data)
    if wrong := {name: m.shape for name, m in metrics.items() if m.shape != ()}:
        raise ValueError(f"want scalar metrics from Trainer.step, got shapes {wrong}")
    return list(metrics)


class Traceable(NamedTuple):
    """The two programs before compilation: jitted functions with the abstract arguments that each is compiled for."""

    begin: jax.stages.Wrapped
    begin_arguments: tuple
    advance: jax.stages.Wrapped
    advance_arguments: tuple


def functions(make: Make, names: list[str], data: PyTree, shape: Shape, mesh: Mesh) -> Traceable:
    """Write the programs of one sweep: hyperparameters and seeds are arrays, so one program serves all runs.

    Runs are split over devices by `shard_map`: under automatic sharding `lax.map` would gather them on every device.
    `check_vma=False`: nothing here crosses devices, and the check would sum gradients with respect to replicated data.
    """
    run = meshes.by_run(mesh)
    sharded = functools.partial(jax.shard_map, mesh=mesh, out_specs=P(meshes.RUNS), check_vma=False)

    def begin(hyperparameters: dict[str, Array], seeds: Array) -> Group:
        def one(pair: tuple) -> PyTree:
            return make(**pair[0]).init(jax.random.key(pair[1], impl="threefry2x32"))  # rbg draws change under vmap

        local = sharded(lambda *pairs: over_runs(one, pairs, shape.batch), in_specs=P(meshes.RUNS))
        states = local(hyperparameters, seeds)
        unset = jnp.full((shape.width, shape.chunks), jnp.nan, jnp.float32)
        history = dict.fromkeys(_metric_names(make, states, hyperparameters, data), unset)
        return Group(states, history, jnp.full(shape.width, -1, jnp.int32))

    def advance(group: Group, hyperparameters: dict[str, Array], data: PyTree, index: Array) -> Group:
        def local(group: Group, hyperparameters: dict[str, Array], data: PyTree, index: Array) -> Group:
            one = functools.partial(_advance_one, make, shape, data, index)
            return advance_runs(one, group, hyperparameters, shape.batch)

        specs = (P(meshes.RUNS), P(meshes.RUNS), P(), P())
        return sharded(local, in_specs=specs)(group, hyperparameters, data, index)

    def argument(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=run)

    hypers = {name: argument(jax.ShapeDtypeStruct((shape.width,), jnp.float32)) for name in names}
    start = (hypers, argument(jax.ShapeDtypeStruct((shape.width,), jnp.uint32)))
    state = jax.tree.map(argument, jax.eval_shape(begin, *start))
    index = jax.ShapeDtypeStruct((), jnp.int32, sharding=meshes.whole(mesh))
    return Traceable(
        jax.jit(begin, out_shardings=run),
        start,
        jax.jit(advance, donate_argnums=0, out_shardings=run),
        (state, hypers, abstract(data), index),
    )


def build(make: Make, names: list[str], data: PyTree, shape: Shape, mesh: Mesh) -> Program:
    """Compile the programs of one sweep, once, whatever its runs. names: of the hyperparameters. data: on the mesh."""
    started = time.perf_counter()
    with jax.default_matmul_precision(shape.precision):
        made = functions(make, names, data, shape, mesh)
        begun = made.begin.lower(*made.begin_arguments).compile()
        advanced = made.advance.lower(*made.advance_arguments).compile()
    state = made.advance_arguments[0]
    return Program(begun, advanced, state, time.perf_counter() - started, peak_bytes(advanced))


def peak_bytes(compiled: jax.stages.Compiled) -> int:
    """Bytes that a compiled program holds on one device: arguments, results that are not arguments, and scratch."""
    need = compiled.memory_analysis()
    if need is None:
        return 0
    held = need.argument_size_in_bytes + need.output_size_in_bytes - need.alias_size_in_bytes
    return int(held + need.temp_size_in_bytes)


def build_map(
    f: Callable[[PyTree, PyTree], PyTree], data: PyTree, states: PyTree, shape: Shape, mesh: Mesh
) -> Callable:
    """Compile `f(state, data)` for the runs of a group: `(states, data) -> results`, `[W, ...]`, sharded over runs."""

    def local(states: PyTree, data: PyTree) -> PyTree:
        return over_runs(lambda state: f(state, data), states, shape.batch)

    specs = (P(meshes.RUNS), P())
    sharded = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P(meshes.RUNS), check_vma=False)
    with jax.default_matmul_precision(shape.precision):
        return jax.jit(sharded).lower(states, abstract(data)).compile()
