"""Published data sets made of factors, from their own files where you have them: an image for every combination.

dSprites (Matthey et al. 2017), Shapes3D (Burgess and Kim 2018), Cars3D (Reed et al. 2015), SmallNORB (LeCun et al.
2004), MPI3D (Gondal et al. 2019). Nothing here fetches anything; `images.find` says where files belong. A `Lattice`
has the facts of a `FactorSet` and its images by number, in memory or on disk: `blocks` walks over all, `images` and
`sample_images` look some up on the host, `unpack` makes a file for that where the published one cannot be read in any
order, and on a device:

    pixels = jax.device_put(data.rows.array())                    # all of them: Shapes3D 6 GB, MPI3D 13 GB
    step(lattices.factor_set(data, pixels), key)                  # inside jit, pixels its argument

What each loader checks is in its docstring. Memory and time are bounded by a block unless it says otherwise.
"""

import importlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.data import arm, cars3d, npz, packed, shapes3d, smallnorb
from interp_jax.data import dsprites as sprites
from interp_jax.data import factors as sets
from interp_jax.data import images as places
from interp_jax.data import rows as kinds

SIDE = 64
DSPRITES = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
SHAPES3D = "3dshapes.h5"
MPI3D_SIZES = ((6, 6, 2, 3, 3, 40, 40), (4, 4, 2, 3, 3, 40, 40))


@dataclass(frozen=True)
class Lattice:
    """A data set with an image for every combination of factors, and of nuisance if it has any.

    names, sizes: of the factors, `F` of them. rows: the images, uint8 `[count(sizes) * repeats, H, W, C]`, the factors'
    number first and the nuisance (`repeats` of it, 1 if none) running fastest. white: the byte that stands for 1.
    """

    names: tuple[str, ...]
    sizes: sets.Sizes
    rows: kinds.Rows
    repeats: int = 1
    white: int = 255

    def __post_init__(self) -> None:
        """Check that there is an image for every combination."""
        if len(self.names) != len(self.sizes) or self.rows.shape[0] != sets.count(self.sizes) * self.repeats:
            raise ValueError(f"want images for {self.names} of {self.sizes} x {self.repeats}, got {self.rows.shape}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(H, W, C)` of an image."""
        _, height, width, channels = self.rows.shape
        return height, width, channels


def index(data: Lattice, factors: ArrayLike, key: Key | None = None) -> np.ndarray:
    """Number the images of many combinations `[N, F]` -> `[N]`; the nuisance of row i is drawn from `keys.at(key, i)`.

    Raises ValueError for factors out of range, or if there is nuisance and no key.
    """
    classes = np.asarray(factors)
    chex.assert_shape(classes, (None, len(data.sizes)))
    chex.assert_type(classes, int)
    for name, size, column in zip(data.names, data.sizes, classes.T, strict=True):
        checks.entries(0, size - 1, **{name: column})
    numbers = np.ravel_multi_index(tuple(classes.T), data.sizes) * data.repeats
    if data.repeats == 1:
        return numbers
    known = sets.need_key(key, "this data set")
    each = jax.vmap(lambda i: _instance(keys.at(known, i), data.repeats))(jnp.arange(len(classes)))
    return numbers + np.asarray(each)


def images(data: Lattice, factors: ArrayLike, key: Key | None = None) -> np.ndarray:
    """Look up many images on the host: `[N, F]` -> float32 `[N, H, W, C]` in [0, 1]. Nuisance as in `index`."""
    return np.divide(data.rows.take(index(data, factors, key)), np.float32(data.white), dtype=np.float32)


def sample_images(data: Lattice, key: Key, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw `n` images and their factors `[n, F]`, with replacement, from the streams of `factors.sample_images`."""
    drawn = np.asarray(sets.sample_factors(keys.stream(key, "factors"), data.sizes, n))
    return images(data, drawn, keys.stream(key, "nuisance")), drawn


def blocks(data: Lattice, size: int = 4096) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Walk over the whole set in order, about `size` images at a time: factors `[n, F]` int32 and bytes `[n, H, W, C]`.

    With nuisance, `repeats` rows in a row share their factors.
    """
    checks.whole(1, size=size)
    start = 0
    for block in data.rows.blocks(size):
        numbers = np.arange(start, start + len(block)) // data.repeats
        yield np.stack(np.unravel_index(numbers, data.sizes), 1).astype(np.int32), block
        start += len(block)


def unpack(data: Lattice, path: str | os.PathLike) -> Lattice:
    """Write the images to a plain .npy file, once, and give the data set on it, mapped into memory.

    Takes the images' whole size on disk (Shapes3D 5.9 GB, MPI3D 12.7 GB) and a block of memory. A file that is there
    is used if its shape and its first images are the same, and refused otherwise; it appears whole or not at all.
    """
    path = Path(path)
    if not path.exists():
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")  # others may be writing theirs
        try:
            kinds.copy(data.rows, out := np.lib.format.open_memmap(part, "w+", np.uint8, data.rows.shape))
            out.flush()
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: not a readable .npy file: {error}") from None
    first = next(iter(data.rows.blocks(16)))
    if found.shape != data.rows.shape or found.dtype != np.uint8 or not np.array_equal(found[: len(first)], first):
        raise ValueError(f"{path}: holds other images; remove it or name another file")
    return Lattice(data.names, data.sizes, kinds.Plain(found), data.repeats, data.white)


def factor_set(data: Lattice, pixels: Array) -> sets.FactorSet:
    """Make the `FactorSet` that looks images up in `pixels`, which is `data.rows.array()` on a device.

    Make it inside the jitted function of which `pixels` is an argument: closed over, it would be copied into the
    program. With nuisance, `render` needs a key.
    """

    def render(factors: ArrayLike, key: Key | None = None) -> Array:
        classes, valid = sets.checked(data.sizes, factors, data.names)
        number = sets.index(data.sizes, classes) * data.repeats
        if data.repeats > 1:
            number += _instance(sets.need_key(key, "this data set"), data.repeats)
        if isinstance(data.rows, kinds.Bits):
            image = packed.lookup(pixels, number, data.shape)
        else:
            image = jax.lax.dynamic_index_in_dim(pixels, number, keepdims=False) / jnp.float32(data.white)
        return jnp.where(valid, image, jnp.nan)

    return sets.FactorSet(data.names, data.sizes, data.shape, render)


def dsprites(folder: str | os.PathLike | None = None) -> Lattice:
    """Load dSprites from its npz file: 737,280 images `[64, 64, 1]`, in memory as bits (377 MB).

    Checked: shapes, types, that pixels are 0 and 1, every row's classes, the archive's check sums. The pickled
    `metadata` is not read.
    """
    path = _present("dsprites", folder, DSPRITES)
    sizes = sprites.FACTOR_SIZES
    found = npz.find(path, "imgs", shape=(sets.count(sizes), SIDE, SIDE), dtype="u1")
    classes = npz.read(npz.find(path, "latents_classes", shape=(sets.count(sizes), len(sizes) + 1), dtype="<i8"))
    _in_order(path, "latents_classes", classes, [np.arange(size) for size in (1, *sizes)])
    try:
        bits = kinds.bits(kinds.Compressed(found))
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    return Lattice(sprites.FACTOR_NAMES, sizes, kinds.Bits(bits, (SIDE, SIDE, 1)), white=1)


def shapes_3d(folder: str | os.PathLike | None = None) -> Lattice:
    """Open Shapes3D's HDF5 file: 480,000 images `[64, 64, 3]`, left on disk. Needs the extra `h5` (h5py).

    Checked: shapes, types, every row's labels. The file is compressed in chunks that suit reading it in order; for
    images in any order `unpack` it first.
    """
    path = _present("shapes3d", folder, SHAPES3D)
    sizes = shapes3d.FACTOR_SIZES
    pixels, labels = (_hdf5(path, name) for name in ("images", "labels"))
    want = (sets.count(sizes), SIDE, SIDE, 3)
    if pixels.shape != want or pixels.dtype != np.uint8:
        raise ValueError(f"{path}: want images of uint8 {want}, got {pixels.dtype} {pixels.shape}")
    if labels.shape != (want[0], len(sizes)) or labels.dtype != np.float64:
        got = f"{labels.dtype} {labels.shape}"
        raise ValueError(f"{path}: want labels of float64 {(want[0], len(sizes))}, got {got}")
    values = [np.arange(10) / 10] * 3 + [np.linspace(0.75, 1.25, 8), np.arange(4.0), np.linspace(-30, 30, 15)]
    read = np.concatenate([*kinds.Hdf5(path, labels).blocks(2**16)])
    _in_order(path, "labels", read, [each[:size] for each, size in zip(values, sizes, strict=True)])
    return Lattice(shapes3d.FACTOR_NAMES, sizes, kinds.Hdf5(path, pixels))


def cars_3d(folder: str | os.PathLike | None = None) -> Lattice:
    """Load Cars3D from its MATLAB files, see `data.cars3d`: 17,568 images `[64, 64, 3]`, in memory (216 MB).

    Checked: the number of files, and the shape and type of each. Nothing in a file says which car it is: cars are
    numbered by the names of their files.
    """
    pixels = cars3d.load(places.find("cars3d", folder), _hint("cars3d"))
    return Lattice(("elevation", "azimuth", "car"), cars3d.SIZES, kinds.Plain(pixels))


def small_norb(folder: str | os.PathLike | None = None) -> Lattice:
    """Load SmallNORB from its six files, see `data.smallnorb`: 48,600 images `[64, 64, 1]`, in memory (199 MB).

    The instance (10 toys a category) is nuisance. Checked: shapes, types, that every combination is there once.
    """
    pixels = smallnorb.load(places.find("smallnorb", folder), _hint("smallnorb"))
    names = ("category", "elevation", "azimuth", "lighting")
    return Lattice(names, smallnorb.SIZES, kinds.Plain(pixels), repeats=smallnorb.INSTANCES)


def mpi_3d(folder: str | os.PathLike | None = None, *, file: str = "mpi3d_real.npz") -> Lattice:
    """Open one of MPI3D's npz files: 1,036,800 images `[64, 64, 3]` (460,800 of complex objects), left on disk.

    Mapped into memory if the archive stores it plain; if it is compressed, `unpack` it for images in any order.
    Checked: shape and type. The file has no labels, so nothing would tell that its images lie in another order. Factors
    are numbered by the 6 colours and 6 shapes of the released files; disentanglement_lib's 4 and 4, which were those of
    the competition, look up wrong images there.
    """
    path = _present("mpi3d", folder, file)
    found = npz.find(path, "images", dtype="u1")
    fitting = [sizes for sizes in MPI3D_SIZES if found.shape == (sets.count(sizes), SIDE, SIDE, 3)]
    if not fitting:
        counts = " or ".join(str(sets.count(sizes)) for sizes in MPI3D_SIZES)
        raise ValueError(f"{path}: want images of shape ({counts}, {SIDE}, {SIDE}, 3), got {found.shape}")
    rows = kinds.Compressed(found) if found.start is None else kinds.Plain(npz.mapped(found))
    return Lattice(arm.FACTOR_NAMES, fitting[0], rows)


def _instance(key: Key, repeats: int) -> Array:
    return jax.random.randint(key, (), 0, repeats)


def _in_order(path: Path, what: str, found: np.ndarray, values: list[np.ndarray]) -> None:
    """Check that rows `[N, F]` are all combinations of the factors' values, the last running fastest."""
    grid = np.unravel_index(np.arange(len(found)), tuple(len(each) for each in values))
    want = np.stack([each[i] for each, i in zip(values, grid, strict=True)], 1)
    if (wrong := np.flatnonzero(~(np.abs(found - want) < 1e-6).all(1))).size:
        i = wrong[0]
        raise ValueError(f"{path}: want {what} {want[i].tolist()} in row {i}, got {found[i].tolist()}")


def _present(name: str, folder: str | os.PathLike | None, file: str) -> Path:
    place = places.find(name, folder)
    if not (place / file).is_file():
        raise FileNotFoundError(f"no {file} in {place}: {_hint(name)}")
    return place / file


def _hint(name: str) -> str:
    return (
        "put the published files there, or set INTERP_JAX_DATA to the folder that holds "
        f"{name}/, or pass the folder that holds them"
    )


def _hdf5(path: Path, name: str) -> Any:
    """Open one data set of an HDF5 file; the file stays open as long as the data set is held."""
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError("data.lattices.shapes_3d needs h5py: pip install 'interp_jax[h5]'") from error
    try:
        found = h5py.File(path, "r").get(name)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path}: not a readable HDF5 file: {' '.join(str(error).split())}") from None
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{path}: want a data set {name}, got none")
    return found
