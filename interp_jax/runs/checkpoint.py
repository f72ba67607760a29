"""One unit on disk, through orbax; everything that knows orbax is in this file.

Orbax gives an atomic folder, resharding and parallel writing. What it lacks is here: it restores flipped bits in
silence, casts a wrong dtype in silence, refuses empty arrays, and answers damage with bare JSONDecodeError or
KeyError. A unit is a folder with two items: `state`, a flat dict from a leaf's path to its array, and `record`, JSON
with fingerprint, dtype and shape of each leaf, sealed by its own SHA-256.

Saving is synchronous. The driver saves every half minute, not every step, so a background write would win little; and
an error (disk full, preemption) belongs to its unit while all processes still agree on where they are. We use
`Checkpointer` rather than `CheckpointManager`: a program has many chains, each would need a manager with its threads
and its cached list of steps, and retention must count verified units only.
"""

import contextlib
import gc
import json
import logging
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from interp_jax.core import hosts
from interp_jax.core.types import PyTree
from interp_jax.runs import digest, seal
from interp_jax.runs.errors import CheckpointError, SaveError, StoreError

_TEMPORARY, _OLD = "orbax-checkpoint-tmp", ".old-"
_NOT_DAMAGE = (StoreError, MemoryError, PermissionError, jax.errors.JaxRuntimeError)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep orbax quiet: it warns of normal things, and logs and collects with a noise what is raised as well."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    try:
        for logger in loggers:
            logger.addFilter(_nothing)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_nothing)


def _nothing(_: object) -> bool:
    return False


def _sweep() -> None:
    """Collect the asyncio tasks that orbax leaves after an error; each would tell of it again at some later time.

    Some wait for reads of the C++ library that are still under way, so give these a moment.
    """
    hook = sys.unraisablehook
    try:
        sys.unraisablehook = _nothing
        with _hushed():
            for _ in range(4):
                gc.collect()
                time.sleep(0.02)
    finally:
        sys.unraisablehook = hook


def steps(root: Path) -> list[int]:
    """List the committed units under `root`, ascending."""
    return sorted(int(p.name) for p in root.iterdir() if p.name.isdigit()) if root.is_dir() else []


def tidy(root: Path) -> None:
    """Remove what a kill or an error left under `root`: half-written and half-removed units. Process 0 only."""
    for path in root.iterdir() if root.is_dir() else ():
        if _TEMPORARY in path.name or path.name.startswith(_OLD):
            shutil.rmtree(path, ignore_errors=True)


def remove(root: Path, step: int) -> None:
    """Remove a unit; a rename comes first, so that a kill never leaves half of one under its name."""
    (root / str(step)).rename(root / f"{_OLD}{step}")
    shutil.rmtree(root / f"{_OLD}{step}", ignore_errors=True)


def save(root: Path, step: int, state: PyTree, chain: str) -> None:
    """Commit `state` as unit `step` under `root`, atomically; all processes together.

    `chain` is the hash of what the unit belongs to; `read` compares it.

    Raises:
        SaveError: if it cannot be written; nothing of it remains.
        ValueError: for a leaf that is no array, number or None.
    """
    marks, named = digest.fingerprints(state), dict(digest.leaves(state))
    leaves = {path: [mark, *_kind(named[path], path)] for path, mark in marks.items()}
    record = seal.seal({"step": step, "chain": chain, "leaves": leaves})
    arrays = {
        path: leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
        for path, leaf in named.items()
        if _on_disk(leaves[path])
    } or {".": np.zeros(1, np.uint8)}
    reason = ""
    try:
        with _hushed(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as writer:
            items = ocp.args.Composite(state=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(record))
            writer.save((root / str(step)).absolute(), args=items)
    except MemoryError:
        raise
    except Exception as error:
        reason = _reason(error)
    if reason:
        _sweep()
        tidy(root)
        kept = max((s for s in steps(root) if s < step), default=0)
        raise SaveError(
            f"cannot save unit {step} in {root}: {reason}. Units up to {kept} are kept: "
            "make room (or allow writing) and run the same command again"
        )


def read(root: Path, step: int, target: PyTree | None, chain: str | None = None) -> PyTree:
    """Read unit `step`, verified, into the shardings of `target`; all processes together.

    Without `target` a flat dict comes back: path to numpy array (typed keys as jax arrays).

    Raises:
        CheckpointError: on every process, if the unit is damaged for any.
        StoreError: if it is sound and belongs to another program: other leaves, shapes, dtypes or runs.
    """
    where, trouble, arrays, leaves = f"unit {step} in {root}", "", {}, {}
    folder = (root / str(step)).absolute()
    try:
        with _hushed():
            record = _record(folder, step)
        leaves = record["leaves"]
        if chain is not None and record["chain"] != chain:
            raise StoreError(f"{where} belongs to other runs than this program's: use another folder")
        if target is not None:
            _same_structure(leaves, target, where)
        with _hushed():
            arrays = _arrays(folder / "state", leaves, target)
    except _NOT_DAMAGE:
        raise
    except Exception as error:
        trouble = f"{where}: {_suspect(folder, error)} is damaged: {line(error)}"
    if trouble:
        _sweep()
    if trouble := hosts.trouble(trouble):
        raise CheckpointError(trouble)
    for path, mark in digest.fingerprints(arrays).items():
        if leaves[path][0] != mark:
            raise CheckpointError(f"{where}: leaf {path} is damaged: its values are not those that were committed")
    return arrays if target is None else _tree(arrays, target)


def _reader(handler: ocp.CheckpointHandler | None = None) -> ocp.Checkpointer:
    """Make a reader that waits for no other process: whoever finds damage must be able to say so."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"reader{me}"
    )
    handler = handler or ocp.StandardCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _record(folder: Path, step: int) -> dict:
    """Read the record of a unit; an error names its file."""
    try:
        record = seal.check(_reader(ocp.JsonCheckpointHandler()).restore(folder / "record"))
        if record["step"] != step:
            raise ValueError(f"it is the record of unit {record['step']}")
    except _NOT_DAMAGE:
        raise
    except Exception as error:
        raise ValueError(f"{folder / 'record' / 'metadata'}: {error}") from error
    return record


def _arrays(folder: Path, leaves: dict, target: PyTree | None) -> dict:
    """Restore the leaves, flat, by path; those that are not on disk are made again."""
    if target is None:
        wanted = {path: _wanted(dtype, shape) for path, (_, dtype, shape) in leaves.items()}
    else:
        wanted = {path: _placed(leaf) for path, leaf in digest.leaves(target)}
    stored = {path: leaf for path, leaf in wanted.items() if _on_disk(leaves[path])}
    if stored:
        stored = _reader().restore(folder, args=ocp.args.StandardRestore(stored))
    return {path: stored[path] if path in stored else _absent(leaf) for path, leaf in wanted.items()}


def _wanted(dtype: str, shape: list[int]) -> object:
    """Give the host array that a stored leaf is read into; a typed key cannot be one."""
    if dtype == "none":
        return None
    if dtype.startswith("key<"):
        for impl in ("threefry2x32", "rbg", "unsafe_rbg"):
            key = jax.eval_shape(lambda impl=impl: jax.random.key(0, impl=impl))
            if str(key.dtype) == dtype:
                return _placed(jax.ShapeDtypeStruct(tuple(shape), key.dtype))
    return np.empty(shape, jnp.dtype(dtype))


def _placed(leaf: object) -> object:
    """Give an abstract leaf a sharding if it has none, and a Python number an array to be read into."""
    if leaf is None or isinstance(leaf, np.ndarray):
        return leaf
    if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return np.asarray(leaf)
    sharding = leaf.sharding
    if sharding is None:
        if jax.process_count() > 1:
            raise StoreError("want shardings in a chain's abstract() when there are several processes")
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _absent(leaf: object) -> object:
    """Make a leaf that orbax does not store: None, or an empty array."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)
    return leaf


def _on_disk(leaf: list) -> bool:
    """Say whether orbax stores a leaf `[mark, dtype, shape]`: it knows no None and refuses empty arrays."""
    return leaf[1] != "none" and 0 not in leaf[2]


def _tree(arrays: dict, target: PyTree) -> PyTree:
    """Put the leaves back into the target's structure, and its Python numbers back to Python."""
    flat, structure = jax.tree.flatten(target, is_leaf=lambda leaf: leaf is None)
    back = [_as(leaf, value) for leaf, value in zip(flat, arrays.values(), strict=True)]
    return jax.tree.unflatten(structure, back)


def _as(leaf: object, value: Any) -> object:
    """Make a restored value what the target's leaf is: a Python number, or an array committed to no device."""
    if isinstance(leaf, bool | int | float | complex | np.generic):
        return type(leaf)(value.item())
    if not isinstance(leaf, jax.ShapeDtypeStruct) or leaf.sharding is not None:
        return value
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = jnp.asarray(np.asarray(jax.random.key_data(value)))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(value))
    return jnp.asarray(np.asarray(value))


def _kind(leaf: object, path: str) -> list:
    if leaf is None:
        return ["none", []]
    dtype, shape = digest.kind(leaf, path)
    return [dtype, list(shape)]


def _same_structure(leaves: dict, target: PyTree, where: str) -> None:
    """Refuse a sound unit of another program; falling back to an older one would throw work away."""
    wanted = {path: _kind(leaf, path) for path, leaf in digest.leaves(target)}
    for path in sorted(leaves.keys() | wanted.keys()):
        stored, want = leaves[path][1:] if path in leaves else ["nothing"], wanted.get(path, ["nothing"])
        if stored != want:
            raise StoreError(
                f"{where} is of another program: leaf {path} is {_say(stored)} there and {_say(want)} here: "
                "use another folder, or the program that wrote this one"
            )


def _say(kind: list) -> str:
    return " ".join(map(str, kind))


def _suspect(folder: Path, error: Exception) -> str:
    """Name the file that an error is about: the path in its text, else a JSON file that does not parse, else all."""
    named = re.search(re.escape(str(folder)) + r"[^\s\"',:;\]]*", str(error))
    if named:
        return named.group()
    state = folder / "state"
    for path in (state / "_METADATA", state / "_sharding", *sorted((state / "array_metadatas").glob("*"))):
        try:
            json.loads(path.read_bytes())
        except (OSError, ValueError):
            return str(path)
    return str(state)


def _reason(error: BaseException) -> str:
    """Give the system's word for a failed write, which the C++ library only numbers and orbax buries."""
    number = re.search(r"os_error_code='(\d+)'", str(error))
    number = int(number[1]) if number else error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number else line(error)


def line(error: BaseException) -> str:
    """Give the heart of an error on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
