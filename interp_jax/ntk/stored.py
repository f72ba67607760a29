"""Kernels on disk, tile by tile: as large as the disk, resumed after a kill, checked against their fingerprints.

`gram_to_store` is a host driver. A unit is one tile of the upper triangle, which is written at its place and mirrored;
the tile's fingerprint is committed through `runs.driver` after the tile itself. A chain is a row of tiles, so that the
parts of a job array (`--part I/N`) share the rows out.

    DIR/store/      the configuration, and the fingerprints of tiles (`runs.store`)
    DIR/kernel/     the kernel, `[N, N]` or `[N K, N K]`, a zarr array (`runs.arrays`)
"""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from interp_jax.core import checks
from interp_jax.core.types import Apply, Array, Numpy, PyTree
from interp_jax.ntk import blocks, kernels
from interp_jax.ntk.methods import Engine, Method, Problem, structured
from interp_jax.ntk.operators import Operator
from interp_jax.ntk.plan import REDUCE
from interp_jax.runs import arrays, checkpoint, digest
from interp_jax.runs.chain import Chain, Steps
from interp_jax.runs.driver import drive
from interp_jax.runs.errors import StoreError
from interp_jax.runs.parts import ALL, Part
from interp_jax.runs.progress import Progress
from interp_jax.runs.store import open_store

ROWS, COLUMNS = "rows", "columns"


class StoredKernel(NamedTuple):
    """A kernel on disk. array: where it lies, a matrix. tile: rows of a tile. outputs: rows of an example."""

    array: arrays.StoredArray
    tile: int
    outputs: int

    def rows(self, start: int, stop: int) -> Numpy:
        """Read the rows of examples `start .. stop - 1`, whole.

        Raises:
            StoreError: if a chunk is damaged.
        """
        return self.array.read([(start * self.outputs, stop * self.outputs), (0, self.array.shape[1])])

    def operator(self) -> Operator:
        """Multiply with it, a row of tiles in memory at a time: for `solvers` and `spectra`, also under jit."""
        size = self.array.shape[0]
        dtype = jnp.dtype(self.array.dtype)

        def multiply(vector: Numpy) -> Numpy:
            starts = range(0, size, self.tile)
            parts = [self.array.read([(i, min(i + self.tile, size)), (0, size)]) @ vector for i in starts]
            return np.concatenate(parts).astype(dtype)

        def matvec(vector: Array) -> Array:
            shape = jax.ShapeDtypeStruct((size,), dtype)
            return jax.pure_callback(lambda v: multiply(np.asarray(v)), shape, vector, vmap_method="sequential")

        return Operator(size, size, dtype, matvec)


def gram_to_store(
    apply: Apply, params: PyTree, xs: PyTree, path: Path | str, *, kernel: Callable = kernels.trace, tile: int = 512,
    mesh: Mesh | None = None, method: Method = structured, part: Part = ALL, every_seconds: float = 30.0,
    progress: Progress | None = None,
) -> StoredKernel | None:  # fmt: skip
    """Compute a kernel of N examples into a folder; give it when all of it is there, None after a part of it.

    The same call after a kill goes on at the last commit, and ends with the same bits.

    Args:
        apply: `(params, x) -> [K]`, for one example.
        params: any tree.
        xs: N examples; they stay on the host, but for the tile at hand.
        path: a folder that belongs to this kernel: other parameters, examples, models or tiles are refused.
        kernel: `kernels.trace` or `pseudo`, `[N, N]`, or `kernels.empirical`, `[N K, N K]`.
        tile: examples a side of a tile; two tiles' factors and a tile are held at once.
        mesh: devices laid out along "rows" and "columns", which divide the tile; one device if None.
        method: as for `kernels.empirical`.
        part: this task's share of the rows of tiles.
        every_seconds: between commits.
        progress: told of each tile instead of the bar.

    Raises:
        StoreError: if the folder holds another kernel, or cannot be used.
        SaveError: if a tile cannot be written; what was committed remains.
    """
    checks.whole(1, tile=tile)
    if kernel not in REDUCE or kernel is kernels.diagonal:
        raise ValueError(f"want kernel among empirical, trace and pseudo, got {kernel}")
    xs = jax.tree.map(np.asarray, xs)
    problem = kernels.state(apply, params, xs, None, REDUCE[kernel], lambda path: "all")
    count = problem.count
    tile = min(tile, count)
    outputs = problem.basis.shape[0] if problem.reduce == "full" else 1
    root = Path(path)
    jaxpr = jax.make_jaxpr(apply)(params, problem.x)
    config = {
        "kernel": REDUCE[kernel], "tile": tile, "params": digest.fingerprint(params), "xs": digest.fingerprint(xs),
        "method": getattr(method, "__name__", str(method)), "model": hashlib.sha256(str(jaxpr).encode()).hexdigest(),
    }  # fmt: skip
    store = open_store(root / "store", config, part=part)
    shape = (1, 1) if mesh is None else (mesh.shape[ROWS], mesh.shape[COLUMNS])
    if any(tile % width for width in shape):
        raise ValueError(f"want a tile that rows and columns of the mesh divide, got {tile=}, {shape}")
    side, about = tile * outputs, {"tile": tile * outputs, "outputs": outputs}
    chunk = [side // math.lcm(*shape)] * 2
    array = arrays.create(root / "kernel", [count * outputs] * 2, chunk, problem.basis.dtype, about)
    work = _Tiles(problem, method, params, xs, tile, mesh)
    chains = [_row(i, work, array, side) for i in range(work.blocks)]
    drive(_balanced(chains), store, part=part, every_seconds=every_seconds, progress=progress)
    return None if _missing(root) else open_kernel(root)


def open_kernel(path: Path | str) -> StoredKernel:
    """Open a kernel that `gram_to_store` finished; tiles are checked as they are read, all of them by `verify`.

    Raises:
        StoreError: if tiles are missing.
    """
    root = Path(path)
    if missing := _missing(root):
        raise StoreError(f"{root} lacks {missing} tiles: run gram_to_store again, all parts of it")
    about = arrays.about(root / "kernel")
    return StoredKernel(arrays.open_array(root / "kernel"), about["tile"], about["outputs"])


def verify(path: Path | str) -> None:
    """Compare every tile, and its mirror image, with its fingerprint.

    Raises:
        StoreError: if one is not what was committed, by place.
    """
    root, kernel = Path(path), open_kernel(path)
    size = kernel.array.shape[0]
    for folder in sorted((root / "store" / "chains").iterdir()):
        row = int(folder.name.removeprefix("row-"))
        units = checkpoint.steps(folder / "units")
        marks = checkpoint.read(folder / "units", units[-1], None)["marks"]
        for offset, mark in enumerate(marks):
            spans = [(k * kernel.tile, min((k + 1) * kernel.tile, size)) for k in (row, row + offset)]
            for found in (kernel.array.read(spans), kernel.array.read(spans[::-1]).T):
                if _mark(found) != int(mark):
                    raise StoreError(f"{root}: tile {row}, {row + offset} is not what was committed")


def _mark(values: Numpy | Array) -> int:
    return int(digest.fingerprints(values)["."], 16)


def _missing(root: Path) -> int:
    """Count the tiles that are not committed."""
    blocks = -(-arrays.open_array(root / "kernel").shape[0] // arrays.about(root / "kernel")["tile"])
    rows = (root / "store" / "chains").glob("row-*")
    return blocks * (blocks + 1) // 2 - sum(max(checkpoint.steps(row / "units"), default=0) for row in rows)


def _balanced(chains: list[Chain]) -> list[Chain]:
    """Order the rows, long ones beside short ones, so that every share of them is about as much work."""
    pairs = zip(chains, chains[::-1], strict=True)
    return [chain for pair in pairs for chain in pair][: len(chains)]


def _row(i: int, work: "_Tiles", array: arrays.StoredArray, side: int) -> Chain:
    """Make the chain of the tiles `i, i`, `i, i + 1`, ... of one row."""
    length = work.blocks - i

    def begin() -> dict[str, Numpy]:
        return {"marks": np.zeros(length, np.uint64)}

    def step(state: dict[str, Numpy], index: int) -> dict[str, Numpy]:
        j = i + index
        values = work.tile(i, j)
        array.write([i * side, j * side], values)
        if i != j:
            array.write([j * side, i * side], values, mirrored=True)
        rows, columns = (min(side, array.shape[0] - k * side) for k in (i, j))
        state["marks"][index] = _mark(values[:rows, :columns])
        return state

    return Steps(f"row-{i:06d}", length, begin, step, {"row": i}, begin)


class _Tiles:
    """Computes tiles of the kernel as matrices; the factors of a row's examples stay for the whole row."""

    def __init__(
        self, problem: Problem, method: Method, params: PyTree, xs: PyTree, size: int, mesh: Mesh | None
    ) -> None:
        self.problem, self.xs, self.size, self.mesh = problem, xs, size, mesh
        self.count = problem.count
        self.blocks = -(-self.count // size)
        self.params = params
        self.method = method
        self._row: tuple[int, list[Array]] | None = None
        self._features = {axis: self._jit(axis) for axis in (ROWS, COLUMNS)}
        self._meet = {same: self._jit_tile(same) for same in (False, True)}

    def tile(self, i: int, j: int) -> Array:
        """Compute one tile, `[size, size]` or `[size K, size K]`; a last block is filled up with copies."""
        if self._row is None or self._row[0] != i:
            self._row = (i, self._features[ROWS](self.params, self._examples(i)))
        right = self._features[COLUMNS](self.params, self._examples(j))
        return self._meet[i == j](self.params, self._row[1], right)

    def _examples(self, i: int) -> PyTree:
        places = np.minimum(np.arange(i * self.size, (i + 1) * self.size), self.count - 1)
        return jax.tree.map(lambda leaf: leaf[places], self.xs)

    def _engine(self, params: PyTree) -> Engine:
        with jax.default_matmul_precision("highest"):
            return self.method(self.problem._replace(params=params))

    def _jit(self, axis: str) -> Callable:
        def features(params: PyTree, xs: PyTree) -> list[Array]:
            with jax.default_matmul_precision("highest"):
                return self._engine(params).features(xs)

        if self.mesh is None:
            return jax.jit(features)
        return jax.jit(
            jax.shard_map(features, mesh=self.mesh, in_specs=(P(), P(axis)), out_specs=P(axis), check_vma=False)
        )

    def _jit_tile(self, same: bool) -> Callable:
        def meet(params: PyTree, left: list[Array], right: list[Array]) -> Array:
            engine = self._engine(params)
            return blocks.meet(engine, left, right, self.problem)["all"]

        if self.mesh is None:
            whole = meet
        else:
            specs = {"in_specs": (P(), P(ROWS), P(COLUMNS)), "out_specs": P(ROWS, COLUMNS)}
            whole = jax.shard_map(meet, mesh=self.mesh, **specs, check_vma=False)

        def call(params: PyTree, left: list[Array], right: list[Array]) -> Array:
            found = whole(params, left, right)
            return blocks.mirror(found) if same else found

        sharding = None if self.mesh is None else NamedSharding(self.mesh, P(ROWS, COLUMNS))
        return jax.jit(call, out_shardings=sharding)
