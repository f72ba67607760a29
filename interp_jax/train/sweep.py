"""A sweep: one table of runs, trained in groups by one compiled program, committed as it goes, resumed by rerunning."""

import dataclasses
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from interp_jax.core import checks
from interp_jax.core.types import Numpy, PyTree
from interp_jax.runs import digest, store
from interp_jax.runs.chain import Chain
from interp_jax.runs.driver import drive
from interp_jax.runs.events import Sink
from interp_jax.runs.parts import ALL, Part
from interp_jax.runs.profile import Profile
from interp_jax.runs.progress import Progress
from interp_jax.runs.store import Store, open_store
from interp_jax.train import groups, meshes, program, table
from interp_jax.train.groups import GroupChain
from interp_jax.train.program import Group, Make, Program, Shape
from interp_jax.train.table import Run


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A trained table of runs, in the table's order.

    runs: those of this part. history: metric -> `[R, chunks]`, means over each chunk. diverged: run id -> the step by
    which a metric or the state was not finite; such runs stay in the arrays, and it is for the caller to mask them.
    program: what was compiled, with seconds and bytes. store: where the states lie.
    """

    runs: tuple[Run, ...]
    history: dict[str, Numpy]
    diverged: dict[str, int]
    program: Program
    store: Store
    chains: tuple[GroupChain, ...]
    data: PyTree

    def map(self, f: Callable[[PyTree, PyTree], PyTree], data: PyTree = None) -> PyTree:
        """Apply `f(state, data)` to every run, compiled once: `[R, ...]` in numpy. data: the training's if None."""
        shape, mesh = self.chains[0].shape, self.chains[0].mesh
        given = self.data if data is None else meshes.place(mesh, data)
        compiled = program.build_map(f, given, self.program.abstract.states, shape, mesh)
        found = {}
        for chain in self.chains:
            values = meshes.to_host(compiled(self._group(chain).states, given))
            for row, run in enumerate(chain.runs):
                found[run.id] = jax.tree.map(lambda leaf, row=row: leaf[row], values)
        return jax.tree.map(lambda *rows: np.stack(rows), *[found[run.id] for run in self.runs])

    def state(self, run: Run) -> PyTree:
        """Give the final Trainer state of one run, in numpy (typed keys as their data)."""
        chain = next((chain for chain in self.chains if run in chain.runs), None)
        if chain is None:
            raise ValueError(f"want a run of this sweep, got {run.id}")
        row = chain.runs.index(run)
        return jax.tree.map(lambda leaf: leaf[row], meshes.to_host(self._group(chain).states))

    def _group(self, chain: GroupChain) -> Group:
        found = self.store.latest(chain)
        if found is None or found[0] < chain.length:
            raise store.StoreError(f"{self.store.root} has lost the end of {chain.name}: run the sweep again")
        return found[1]


def sweep(
    make: Make,
    runs: Sequence[Run],
    data: PyTree,
    *,
    steps: int,
    chunk: int,
    out: str | Path | None = None,
    config: dict | None = None,
    width: int | None = None,
    batch: int | None = None,
    mesh: Mesh | None = None,
    part: Part = ALL,
    precision: str = "highest",
    every_seconds: float = 30.0,
    progress: Progress | None = None,
    profile: Profile | None = None,
    sinks: tuple[Sink, ...] = (),
) -> Sweep:
    """Train every run of a table; a host driver, which owns `jit` and the store.

    Everything compiles once, whatever the seeds and strengths. Rerunning with the same `out` resumes; with more runs in
    the table it trains only those; another configuration or other data are refused.

    Args:
        make: `make(**hyperparameters) -> Trainer`; called while tracing, with traced float32 scalars.
        runs: from `table.grid`; all with the same names of hyperparameters.
        data: arrays that every step is given, the same for all runs.
        steps: the length of a run.
        chunk: steps in a unit, a divisor of `steps`.
        out: the store's folder; None keeps the sweep in a temporary one.
        config: JSON values that define the runs beyond what is given here (architecture, batch size, learning rate).
        width: runs in a group; by default as many as memory holds, spread evenly over the groups.
        batch: runs a device vectorises together, a part of what defines the bits. By default 1 on a CPU, where runs go
            fastest one after another on a core each, and elsewhere a device's whole share of a group.
        mesh: from `meshes.over_runs()`, the default: all devices of all processes.
        part: this task's share of the table, in a job array.
        precision: of matrix products, in the model too ("highest" is float32 on every device).
        every_seconds: the least time between commits: what a kill can cost.
        progress: told of each unit; by default a bar, or lines where there is no terminal.
        profile: a trace of a few units.
        sinks: are told each chunk's metrics, means over a group's runs that have not diverged.

    Raises:
        ValueError: for an empty table, steps that are no multiple of chunk, a width that fits neither mesh nor memory.
        StoreError: if the folder belongs to another configuration.
    """
    mine = _checked(runs, steps, chunk, part)
    recorded = _recorded(out)
    width = recorded.get("width") if width is None else width
    batch = recorded.get("batch") if batch is None else batch
    lanes = _mesh(recorded) if mesh is None else mesh
    placed = meshes.place(lanes, data)
    most = -(-len(runs) // part.count)  # every task of a job array must choose the same width
    shape = _shape(most, width, batch, lanes, steps, chunk, precision)
    built, shape = _fit(make, most, list(mine[0].hyperparameters), placed, shape, lanes, fixed=width is not None)
    defines = {"config": config or {}, "sweep": shape._asdict(), "data": digest.fingerprints(placed)}
    kept = _open(out, defines, part, sinks)
    kept.events.log("compiled", seconds=round(built.seconds, 2), bytes=built.bytes, **shape._asdict())
    packed = groups.pack(mine, shape.width, kept.chains())
    chains = tuple(GroupChain(group, built, shape, placed, lanes) for group in packed)
    ends: dict[str, tuple] = {}

    def finish(chain: Chain, state: Group) -> None:
        ends[chain.name] = meshes.to_host((state.history, state.diverged))

    drive(
        chains, kept, finish=finish, observe=_observer(kept, shape), every_seconds=every_seconds,
        progress=progress, profile=profile,
    )  # fmt: skip
    history, diverged = _collect(mine, chains, ends, shape)
    for name, step in diverged.items():
        kept.events.log("diverged", run=name, step=step)
    return Sweep(tuple(mine), history, diverged, built, kept, chains, placed)


def _checked(runs: Sequence[Run], steps: int, chunk: int, part: Part) -> list[Run]:
    """Refuse a table or lengths that cannot be run; give this part's share."""
    table.check_unique(runs)
    names = set(runs[0].hyperparameters)
    if other := [run.id for run in runs if set(run.hyperparameters) != names]:
        raise ValueError(f"want the hyperparameters {sorted(names)} in every run, got others in {other[0]}")
    if bad := [run.id for run in runs if not 0 <= run.seed < 2**32]:
        raise ValueError(f"want seeds of 32 bits, got run {bad[0]}")
    for run in runs:
        for name, value in run.hyperparameters.items():
            if not np.isfinite(value) or (isinstance(value, int | np.integer) and int(np.float32(value)) != value):
                raise ValueError(
                    f"want {name} finite, and exact in float32 if an integer, got {name}={value!r} in {run.id}"
                )
    checks.whole(1, steps=steps, chunk=chunk)
    if steps % chunk:
        near = max(d for d in range(1, chunk + 1) if steps % d == 0)
        raise ValueError(f"want steps to be a multiple of chunk, got {steps=}, {chunk=}: chunk={near} would do")
    mine = part.share(runs)
    if not mine:
        raise ValueError(f"want at most as many parts as runs, got part {part} of {len(runs)} runs")
    return mine


def _recorded(out: str | Path | None) -> dict:
    """Give the shape that a store was begun with, so that a rerun need not repeat it."""
    if out is None or not (Path(out).expanduser() / "manifest.json").exists():
        return {}
    return store.read_manifest(Path(out).expanduser()).get("config", {}).get("sweep", {})


def _mesh(recorded: dict) -> Mesh:
    """Take all devices; for a sweep begun on another machine the most that its groups can be split over.

    The bits of a run do not depend on it. Several processes must all take part, so there a width that does not divide
    is refused.
    """
    if not recorded or jax.process_count() > 1:
        return meshes.over_runs()
    rows = recorded["width"] // recorded["batch"]
    return meshes.over_runs(max(d for d in range(1, jax.device_count() + 1) if rows % d == 0))


def _open(out: str | Path | None, defines: dict, part: Part, sinks: tuple[Sink, ...]) -> Store:
    """Open the sweep's store, in a folder that goes with it if none is given."""
    folder = tempfile.mkdtemp(prefix="sweep-") if out is None else str(out)
    kept = open_store(folder, defines, part=part, sinks=sinks)
    if out is None:
        weakref.finalize(kept, shutil.rmtree, folder, ignore_errors=True)
    return kept


def _shape(
    runs: int, width: int | None, batch: int | None, mesh: Mesh, steps: int, chunk: int, precision: str
) -> Shape:
    """Fill in width and batch, and refuse those that do not divide over the mesh."""
    devices = mesh.devices.size
    if width is not None:
        checks.whole(1, width=width)
    if batch is None:
        cpu = mesh.devices.flat[0].platform == "cpu"
        batch = 1 if cpu else max((width or groups.even_width(runs, runs, devices)) // devices, 1)
    checks.whole(1, batch=batch)
    width = width or groups.even_width(runs, runs + devices * batch, devices * batch)
    if width % (devices * batch):
        raise ValueError(f"want a width that is a multiple of devices times batch = {devices} x {batch}, got {width=}")
    return Shape(width, batch, steps, chunk, precision)


def _fit(
    make: Make, runs: int, names: list[str], data: PyTree, shape: Shape, mesh: Mesh, *, fixed: bool
) -> tuple[Program, Shape]:
    """Compile for the widest group that the devices' memory holds."""
    limit, unit = meshes.memory(mesh), shape.batch * mesh.devices.size
    while True:
        built = program.build(make, names, data, shape, mesh)
        if built.bytes <= limit:
            return built, shape
        if fixed or shape.width == unit:
            raise ValueError(
                f"a group of width {shape.width} needs {built.bytes / 1e9:.1f} GB on a device and {limit / 1e9:.1f} GB "
                "are free: give a smaller width or batch, or more devices"
            )
        most = max(int(shape.width * limit / built.bytes), unit)
        shape = shape._replace(width=groups.even_width(runs, most, unit))


def _observer(kept: Store, shape: Shape) -> Callable[[Chain, int, Group], None]:
    """Log each chunk's metrics, means over the runs that have not diverged."""

    def observe(chain: Chain, units: int, state: Group) -> None:
        last = meshes.to_host({name: values[:, units - 1] for name, values in state.history.items()})
        fine = {name: values[np.isfinite(values)] for name, values in last.items()}
        means = {name: float(values.mean()) for name, values in fine.items() if values.size}
        kept.events.metrics(chain.name, units * shape.chunk, means)

    return observe


def _collect(
    runs: Sequence[Run], chains: Sequence[GroupChain], ends: dict[str, tuple], shape: Shape
) -> tuple[dict[str, Numpy], dict[str, int]]:
    """Bring histories and divergences of all groups into the table's order."""
    rows, diverged = {}, {}
    for chain in chains:
        history, bad = ends[chain.name]
        for row, run in enumerate(chain.runs):
            rows[run.id] = {name: values[row] for name, values in history.items()}
            if bad[row] >= 0:
                diverged[run.id] = int(bad[row] + 1) * shape.chunk
    names = rows[runs[0].id]
    history = {name: np.stack([rows[run.id][name] for run in runs]) for name in names}
    return history, {run.id: diverged[run.id] for run in runs if run.id in diverged}
