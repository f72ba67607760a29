"""Activations of many texts into a folder: by length, in units that are resumed after a kill, checked when read.

    def features(params, x):                                   # ONE text
        trace = lm.apply(params, x)
        return {"mean": transformer.mean(trace.states, x.mask), "last": transformer.last(trace.states, x.mask)}

    found = capture(features, lm.params, rows, "activations")  # rows: token ids of each text
    found.load("mean", layer=3)                                # [N, D]

`collect` does the same into memory. Both are host drivers: texts are sorted by length and taken a group at a time; a
group is a unit of `runs.driver`, padded to one of a few lengths, so that a few programs are compiled and little is
computed for padding. Its values go to arrays in the sorted order, and their fingerprints are committed after them. A
chain is 16 units, so that the parts of a job array (`--part I/N`) share the chains out.

    DIR/store/              the configuration, and the fingerprints of units (`runs.store`)
    DIR/index.safetensors   which rows are which text's
    DIR/arrays/NAME/        one feature, `[rows, ...]`, a zarr array (`runs.arrays`)
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from interp_jax.core import checks
from interp_jax.core.types import Array, Numpy, PyTree
from interp_jax.data import text
from interp_jax.data.text import Text
from interp_jax.models import safetensors
from interp_jax.runs import agree, arrays, checkpoint, digest
from interp_jax.runs.chain import Chain, Steps
from interp_jax.runs.driver import drive
from interp_jax.runs.errors import SaveError, StoreError
from interp_jax.runs.parts import ALL, Part
from interp_jax.runs.progress import Progress
from interp_jax.runs.store import open_store, read_manifest

Features = Callable[[PyTree, Text], Mapping[str, Array]]
TEXTS = "texts"
"""The axis of a mesh."""
_CHAIN = 16  # units


class Index(NamedTuple):
    """Where texts lie. order: `[N]`, text numbers as stored. first, count: `[N]`, their rows, in that order too."""

    order: Numpy
    first: Numpy
    count: Numpy


class Block(NamedTuple):
    """Rows of a feature. texts: `[n]`, whose they are. places: `[n]`, the token, 0 if pooled. values: `[n, ...]`."""

    texts: Numpy
    places: Numpy
    values: Numpy


class Captured:
    """Activations on disk, see `capture`. names: of the features. index: where texts lie."""

    def __init__(self, root: Path, index: Index) -> None:
        self.root, self.index = root, index
        self._arrays = {path.name: arrays.open_array(path) for path in sorted((root / "arrays").iterdir())}
        self.names: tuple[str, ...] = tuple(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        """Give the shape of one row of a feature."""
        return self._arrays[name].shape[1:]

    def load(self, name: str, *, layer: int | None = None) -> Numpy:
        """Read a pooled feature whole, in the order of the texts: `[N, ...]`, or of one layer, `[N, D]`.

        Raises:
            StoreError: if a chunk is damaged.
            ValueError: a feature by token, which has no one row for a text: use `blocks`.
        """
        if (self.index.count != 1).any():
            raise ValueError(f"want a pooled feature to load whole, got {name!r} by token: use blocks")
        values = self._read(name, 0, len(self.index.order), layer)
        back = np.empty_like(self.index.order)
        back[self.index.order] = np.arange(len(back))
        return values[back]

    def blocks(self, name: str, size: int, *, layer: int | None = None) -> Iterator[Block]:
        """Read a feature in the order in which it is stored (short texts first), some `size` texts at a time.

        Only one block is in memory, so this is how to fit more than memory holds.

        Raises:
            StoreError: if a chunk is damaged.
        """
        order, first, count = self.index
        for i in range(0, len(order), size):
            part = slice(i, min(i + size, len(order)))
            places = np.concatenate([np.arange(n) for n in count[part]])
            rows = np.repeat(first[part], count[part]) + places
            values = self._read(name, int(first[i]), int(rows[-1]) + 1, layer)
            yield Block(np.repeat(order[part], count[part]), places, values[rows - first[i]])

    def _read(self, name: str, start: int, stop: int, layer: int | None) -> Numpy:
        if name not in self._arrays:
            raise ValueError(f"want a feature among {', '.join(self.names)}, got {name!r}")
        shape = self._arrays[name].shape
        if layer is None:
            return self._arrays[name].read([(start, stop), *((0, n) for n in shape[1:])])
        if len(shape) < 3 or not -shape[1] <= layer < shape[1]:
            raise ValueError(f"want a layer of rows {shape[1:]}, got {layer=}")
        layer %= shape[1]
        return self._arrays[name].read([(start, stop), (layer, layer + 1), *((0, n) for n in shape[2:])])[:, 0]


def capture(
    features: Features, params: PyTree, rows: Sequence[Sequence[int]], path: Path | str, *, by_token: bool = False,
    lengths: int | Sequence[int] = 8, group: int = 256, tokens: int = 1024, mesh: Mesh | None = None,
    part: Part = ALL, every_seconds: float = 30.0, progress: Progress | None = None,
) -> Captured | None:  # fmt: skip
    """Compute features of N texts into a folder; give them when all of it is there, None after a part of it.

    The same call after a kill goes on at the last commit, and ends with the same bits on the same devices. Matrix
    products are computed at full precision.

    Args:
        features: `(params, text) -> {name: array}`, for one text; floating, of one shape for every text. By token the
            leading axis of each is the token's, and all tokens are kept.
        params: any tree.
        rows: the token ids of each text (`data.text.encode`).
        path: a folder that belongs to these features: other parameters, texts, functions or groups are refused.
        by_token: keep a row a token, not a row a text.
        lengths: what to pad to, at most so many lengths (chosen by `data.text.buckets`), or these.
        group: texts a unit; their features are held at once.
        tokens: places computed at once on a device, about: where caches hold a layer's activations, it is fastest.
        mesh: devices laid out along "texts", which divide the group; one device if None.
        part: this task's share of the chains.
        every_seconds: between commits.
        progress: told of each unit instead of the bar.

    Raises:
        StoreError: if the folder holds other features, or cannot be used.
        SaveError: if a unit cannot be written; what was committed remains.
    """
    checks.whole(1, group=group, tokens=tokens)
    plan = _plan(rows, lengths, group, by_token)
    shards = _shards(group, mesh)
    root, like = Path(path).expanduser().absolute(), _like(features, params, plan)
    closed = jax.make_jaxpr(features)(params, _abstract(int(plan.tops[0])))
    config = {
        "params": digest.fingerprint(params), "texts": digest.fingerprint(plan.words), "by_token": by_token,
        "features": hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", str(closed)).encode()).hexdigest(),
        "constants": digest.fingerprint(list(closed.consts)), "group": group, "tokens": tokens,
        "index": digest.fingerprint(plan.index._asdict()), "lengths": sorted(set(plan.tops.tolist())),
    }  # fmt: skip
    store = open_store(root / "store", config, part=part)
    agree.first(lambda: _write_index(root / "index.safetensors", plan.index))
    chunk = group if by_token else group // shards
    about = {"units": len(plan.tops), "group": group}
    found = {
        name: arrays.create(root / "arrays" / name, (plan.rows, *leaf.shape), _chunk(chunk, leaf), leaf.dtype, about)
        for name, leaf in like.items()
    }
    work = _Work(_How(features, tokens, mesh, by_token), _placed(params, mesh), plan)
    count = -(-len(plan.tops) // _CHAIN)
    chains = [_chain(k, work, found) for k in [k for i in range(count) for k in (i, count - 1 - i)][:count]]
    drive(chains, store, part=part, every_seconds=every_seconds, progress=progress)
    return None if _missing(root) else open_captured(root)


def collect(
    features: Features, params: PyTree, rows: Sequence[Sequence[int]], *, lengths: int | Sequence[int] = 8,
    group: int = 256, tokens: int = 1024, mesh: Mesh | None = None,
) -> dict[str, Numpy]:  # fmt: skip
    """Compute pooled features of N texts as `capture` does, but into memory: `{name: [N, ...]}`, in the order given.

    A second call with the same function, for other parameters say, compiles nothing. Arguments are `capture`'s.
    """
    checks.whole(1, group=group, tokens=tokens)
    shards = _shards(group, mesh)
    plan = _plan(rows, lengths, min(group, -(-len(rows) // shards) * shards or 1), False)
    made = {
        name: np.empty((plan.rows, *leaf.shape), leaf.dtype) for name, leaf in _like(features, params, plan).items()
    }
    how, params = _How(features, tokens, mesh, False), _placed(params, mesh)
    for unit in range(len(plan.tops)):
        places = plan.index.order[unit * plan.group : (unit + 1) * plan.group]
        for name, values in _unit(how, params, plan.texts(unit)).items():
            made[name][places] = values[: len(places)]
    return made


def open_captured(path: Path | str) -> Captured:
    """Open activations that `capture` finished; chunks are checked as they are read, all units by `verify`.

    Raises:
        StoreError: if units are missing, or the index is damaged.
    """
    root = Path(path).expanduser().absolute()
    if missing := _missing(root):
        raise StoreError(f"{root} lacks {missing} units: run capture again, all parts of it")
    return Captured(root, _read_index(root))


def verify(path: Path | str) -> None:
    """Compare every unit with its fingerprints.

    Raises:
        StoreError: if one is not what was committed, by feature and place.
    """
    root, found = Path(path).expanduser().absolute(), open_captured(path)
    group = arrays.about(root / "arrays" / found.names[0])["group"]
    for folder in sorted((root / "store" / "chains").iterdir()):
        units = checkpoint.steps(folder / "units")
        marks = checkpoint.read(folder / "units", units[-1], None)["marks"]
        for offset, row in enumerate(marks):
            unit = int(folder.name.removeprefix("units-")) * _CHAIN + offset
            part = slice(unit * group, (unit + 1) * group)
            start, stop = int(found.index.first[part][0]), int((found.index.first + found.index.count)[part][-1])
            for name, mark in zip(found.names, row, strict=True):
                if _mark(found._read(name, start, stop, None)) != int(mark):
                    raise StoreError(f"{root}: feature {name}, unit {unit} is not what was committed")


class _Plan(NamedTuple):
    """What is done together. words: the ids of all texts, in order of length, and where each begins and ends."""

    index: Index
    words: tuple[Numpy, Numpy]
    tops: Numpy  # the length of each unit's texts with padding
    group: int
    rows: int
    by_token: bool

    def texts(self, unit: int) -> Text:
        """Give the padded texts of a unit; a last one is filled up with copies."""
        ids, ends = self.words
        places = np.minimum(np.arange(unit * self.group, (unit + 1) * self.group), len(ends) - 2)
        return text.pad([ids[ends[i] : ends[i + 1]] for i in places], int(self.tops[unit]))

    def texts_of(self, unit: int) -> int:
        """Count the texts of a unit, without copies."""
        return min(self.group, len(self.index.order) - unit * self.group)

    def start(self, unit: int) -> int:
        """Give the first row of a unit."""
        return int(self.index.first[unit * self.group])


def _plan(rows: Sequence[Sequence[int]], lengths: int | Sequence[int], group: int, by_token: bool) -> _Plan:
    sizes = np.asarray([len(row) for row in rows], np.int64)
    if not sizes.size or sizes.min() < 1:
        raise ValueError(f"want texts of at least one token, at least one, got {sizes.size} of {sizes.min(initial=0)}")
    order = np.argsort(sizes, kind="stable")
    sizes = sizes[order]
    longest = np.maximum.reduceat(sizes, np.arange(0, len(order), group))
    tops = text.buckets(longest, lengths) if isinstance(lengths, int) else sorted(lengths)
    if tops[-1] < sizes[-1]:
        raise ValueError(f"want lengths up to {sizes[-1]}, the longest text's, got {tops[-1]}")
    ends = np.concatenate([[0], np.cumsum(sizes)])
    ids = np.fromiter((token for i in order for token in rows[i]), np.int32, int(ends[-1]))
    first, count = np.arange(len(order)), np.ones(len(order), np.int64)
    if by_token:  # each unit begins with a chunk of its own
        whole = np.add.reduceat(sizes, np.arange(0, len(order), group))
        starts = np.concatenate([[0], np.cumsum(-(-whole // group) * group)])
        unit = np.arange(len(order)) // group
        first, count = starts[unit] + ends[:-1] - ends[unit * group], sizes
    index = Index(order, first, count)
    return _Plan(
        index,
        (ids, ends),
        np.asarray(tops)[np.searchsorted(tops, longest)],
        group,
        int(first[-1] + count[-1]),
        by_token,
    )


def _shards(group: int, mesh: Mesh | None) -> int:
    """Count the devices that share a group."""
    shards = 1 if mesh is None else mesh.shape[TEXTS]
    if group % shards:
        raise ValueError(f"want a group that the devices along {TEXTS!r} divide, got {group=} and {shards}")
    return shards


def _abstract(length: int) -> Text:
    return Text(jax.ShapeDtypeStruct((length,), jnp.int32), jax.ShapeDtypeStruct((length,), jnp.bool))


def _like(features: Features, params: PyTree, plan: _Plan) -> dict[str, jax.ShapeDtypeStruct]:
    """Give the abstract row of each feature, which must be the same for texts of two lengths."""
    like, tops = {}, sorted({int(plan.tops[-1]), max(int(plan.tops[-1]) - 1, 1)})
    for top in tops:
        found = jax.jit(features).eval_shape(params, _abstract(top))  # traced once for all calls
        if not (isinstance(found, Mapping) and found and all(hasattr(leaf, "shape") for leaf in found.values())):
            raise ValueError(f"want features to give arrays by name, got {jax.tree.structure(found)}")
        for name, leaf in found.items():
            if not (re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name) and jnp.issubdtype(leaf.dtype, jnp.floating)):
                raise ValueError(f"want floating features named by letters, digits, - and _, got {leaf.dtype} {name!r}")
            if plan.by_token and leaf.shape[:1] != (top,):
                raise ValueError(f"want a leading axis of {top} tokens, got {name} of {leaf.shape}")
        rows = {k: jax.ShapeDtypeStruct(a.shape[plan.by_token :], a.dtype) for k, a in sorted(found.items())}
        if top > tops[0] and rows != like:
            raise ValueError(f"want features of one shape for every text, got {like} and {rows}: pool, or use by_token")
        like = rows
    return like


def _placed(params: PyTree, mesh: Mesh | None) -> PyTree:
    """Put parameters on the devices once, not unit by unit; on those of several processes each program puts them."""
    if mesh is None:
        return jax.tree.map(jnp.asarray, params)
    own = all(device.process_index == jax.process_index() for device in mesh.devices.flat)
    return jax.device_put(params, NamedSharding(mesh, P())) if own else params


def _chunk(rows: int, leaf: jax.ShapeDtypeStruct) -> tuple[int, ...]:
    """Chunks hold one layer each, so that one layer is read without the others."""
    return (rows, *((1,) * (len(leaf.shape) - 1) + leaf.shape[-1:] if leaf.shape else ()))


@dataclasses.dataclass(frozen=True)
class _How:
    """What a program of `_unit` is made of, beside shapes."""

    features: Features
    tokens: int
    mesh: Mesh | None
    by_token: bool


@partial(jax.jit, static_argnums=0)  # of the module, so that a second call with the same functions compiles nothing
def _unit(how: _How, params: PyTree, texts: Text) -> dict[str, Array]:
    """Compute the features of a unit's texts, `[group, ...]`."""
    count, length = texts.ids.shape
    local = count if how.mesh is None else count // how.mesh.shape[TEXTS]
    batch = max(n for n in range(1, local + 1) if local % n == 0 and n <= max(how.tokens // length, 1))

    def many(params: PyTree, texts: Text) -> dict[str, Array]:
        with jax.default_matmul_precision("highest"):
            return jax.lax.map(lambda x: dict(how.features(params, x)), texts, batch_size=batch)

    if how.mesh is None:
        return many(params, texts)
    specs = {"in_specs": (P(), P(TEXTS)), "out_specs": P(TEXTS)}
    found = jax.shard_map(many, mesh=how.mesh, **specs, check_vma=False)(params, texts)
    return jax.lax.with_sharding_constraint(found, NamedSharding(how.mesh, P() if how.by_token else P(TEXTS)))


class _Work(NamedTuple):
    """Computes units and writes them."""

    how: _How
    params: PyTree
    plan: _Plan

    def write(self, unit: int, stored: Mapping[str, arrays.StoredArray]) -> list[int]:
        """Compute a unit, write it, give the fingerprint of each feature."""
        texts = self.plan.texts(unit)
        found, marks = _unit(self.how, self.params, texts), []
        for name, array in sorted(stored.items()):
            start = [self.plan.start(unit)] + [0] * (len(array.shape) - 1)
            count = self.plan.texts_of(unit)
            if self.plan.by_token:
                values = np.asarray(found[name].addressable_data(0))[:count][texts.mask[:count]]
                _alone(partial(array.write, start, _filled(values, self.plan.group)))
            else:
                values = found[name][:count]
                array.write(start, found[name])
            marks.append(_mark(values))
        return marks


def _filled(values: Numpy, rows: int) -> Numpy:
    """Fill up to whole chunks with NaN."""
    more = -len(values) % rows
    return np.concatenate([values, np.full((more, *values.shape[1:]), np.nan, values.dtype)])


def _alone(do: Callable[[], None]) -> None:
    """Do something on process 0 only; an error there is raised everywhere."""
    agree.first(lambda: do() or "")


def _chain(k: int, work: _Work, stored: Mapping[str, arrays.StoredArray]) -> Chain:
    """Make the chain of units 16 k, 16 k + 1, ..."""
    length = min(_CHAIN, len(work.plan.tops) - k * _CHAIN)

    def begin() -> dict[str, Numpy]:
        return {"marks": np.zeros((length, len(stored)), np.uint64)}

    def step(state: dict[str, Numpy], index: int) -> dict[str, Numpy]:
        state["marks"][index] = work.write(k * _CHAIN + index, stored)
        return state

    return Steps(f"units-{k:06d}", length, begin, step, {"first": k * _CHAIN}, begin)


def _mark(values: Numpy | Array) -> int:
    return int(digest.fingerprints(values)["."], 16)


def _missing(root: Path) -> int:
    """Count the units that are not committed."""
    folders = sorted(path for path in (root / "arrays").glob("*") if path.is_dir())
    if not folders:
        raise StoreError(f"{root} holds no activations")
    chains = (root / "store" / "chains").glob("units-*")
    return arrays.about(folders[0])["units"] - sum(max(checkpoint.steps(path / "units"), default=0) for path in chains)


def _write_index(path: Path, index: Index) -> str:
    try:
        safetensors.write(path, index._asdict())
    except OSError as error:
        raise SaveError(f"cannot write {path}: {checkpoint.line(error)}") from error
    return ""


def _read_index(root: Path) -> Index:
    """Read the index, checked against the manifest."""
    try:
        index = Index(**{name: np.array(each) for name, each in safetensors.read(root / "index.safetensors").items()})
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{root} has no sound index: {checkpoint.line(error)}: run capture again") from error
    if digest.fingerprint(index._asdict()) != read_manifest(root / "store")["config"]["index"]:
        raise StoreError(f"{root / 'index.safetensors'} is not what was written: run capture again")
    return index
