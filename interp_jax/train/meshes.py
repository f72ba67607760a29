"""Device meshes, and what fits into the memory of their devices."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from interp_jax.core.types import Array, ArrayLike, PyTree

RUNS = "runs"


def over_runs(devices: int | None = None) -> Mesh:
    """Lay devices (all of them, over all processes, unless told) along one axis called `runs`.

    The axis type is Auto: the default of `jax.make_mesh`, Explicit, gives other bits than the unsharded program.
    """
    found = jax.devices()
    count = len(found) if devices is None else devices
    if not 1 <= count <= len(found):
        raise ValueError(f"want 1 <= devices <= {len(found)}, got {devices=}")
    return Mesh(np.array(found[:count]), (RUNS,), axis_types=(AxisType.Auto,))


def by_run(mesh: Mesh) -> NamedSharding:
    """Sharding of an array whose leading axis is the run."""
    return NamedSharding(mesh, P(RUNS))


def whole(mesh: Mesh) -> NamedSharding:
    """Sharding of what every device holds whole."""
    return NamedSharding(mesh, P())


def place(mesh: Mesh, tree: PyTree, sharding: NamedSharding | None = None) -> PyTree:
    """Put arrays that every process holds alike onto the mesh: whole on each device, unless a sharding is given."""
    wanted = whole(mesh) if sharding is None else sharding

    def put(leaf: ArrayLike) -> Array:
        if isinstance(leaf, jax.Array) and leaf.sharding == wanted:
            return leaf
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, wanted, lambda index: values[index])

    return jax.tree.map(put, tree)


def to_host(tree: PyTree) -> PyTree:
    """Bring global arrays to every process as numpy, typed keys as their data."""
    plain = jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, plain)
    return multihost_utils.process_allgather(plain, tiled=True)


def memory(mesh: Mesh) -> int:
    """Bytes that a program may use on one device: the runtime's limit, or a share of the host's free memory."""
    device = mesh.local_devices[0]
    stats = device.memory_stats()
    if stats and stats.get("bytes_limit"):
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return int(0.8 * host_memory() / len(mesh.local_devices))


def host_memory() -> int:
    """Bytes of memory that the host could still give, as the kernel reckons it (16 GiB where it does not say)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 16 << 30
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
