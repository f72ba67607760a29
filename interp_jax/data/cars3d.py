"""Read Cars3D (Reed et al. 2015, "Deep Visual Analogy-Making"): a MATLAB file of 4 x 24 pictures for each of 183 cars.

A file holds `im`, bytes `[128, 128, 3, 24, 4]`: row, column, channel, azimuth, elevation. Cars are numbered by the
sorted names of their files; disentanglement_lib takes them as the folder happens to list them, so a car's number may
differ there from machine to machine. Pictures are shrunk to 64 x 64 by the mean of 2 x 2 (`resize.area`).
"""

import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import scipy.io

from interp_jax.data import resize

SIZES = (4, 24, 183)  # elevation, azimuth, car
PICTURE = (128, 128, 3)
SIDE = 64
FOLDERS = (".", "cars", "data/cars")
ARCHIVE = "nips2015-analogy-data.tar.gz"


def load(place: Path, hint: str) -> np.ndarray:
    """Give all pictures, bytes `[4 * 24 * 183, 64, 64, 3]`, the car's number running fastest: 216 MB.

    place: a folder of .mat files, one with such a folder (`cars`, `data/cars`), one with the published archive, or the
    archive itself. Raises FileNotFoundError with the hint, or ValueError naming the file and what is wrong with it.
    """
    named = dict(_files(place, hint))
    elevations, azimuths, cars = SIZES
    if len(named) != cars:
        raise ValueError(f"{place}: want the .mat files of {cars} cars, got {len(named)}")
    out = np.empty((elevations, azimuths, cars, SIDE, SIDE, PICTURE[2]), np.uint8)
    for number, name in enumerate(sorted(named)):
        out[:, :, number] = named[name]
    return out.reshape(-1, SIDE, SIDE, PICTURE[2])


def read(content: bytes, name: str) -> np.ndarray:
    """Read a car's file: bytes `[4, 24, 64, 64, 3]`, by elevation and azimuth."""
    elevations, azimuths, _ = SIZES
    try:
        found = scipy.io.loadmat(io.BytesIO(content), variable_names=["im"]).get("im")
    except Exception as error:  # damage makes scipy raise almost anything
        raise ValueError(f"{name}: not a readable .mat file: {' '.join(str(error).split())}") from error
    want = (*PICTURE, azimuths, elevations)
    if found is None or found.shape != want or found.dtype != np.uint8:
        got = "none" if found is None else f"{found.dtype} {found.shape}"
        raise ValueError(f"{name}: want an array im of uint8 {want}, got {got}")
    pictures = found.transpose(4, 3, 0, 1, 2).reshape(-1, *PICTURE)
    return resize.area(pictures, SIDE).reshape(elevations, azimuths, SIDE, SIDE, PICTURE[2])


def _files(place: Path, hint: str) -> Iterator[tuple[str, np.ndarray]]:
    for folder in (place / name for name in FOLDERS):
        if paths := [path for path in folder.glob("*.mat") if not path.name.startswith(".")]:
            return ((path.name, read(path.read_bytes(), str(path))) for path in paths)
    archive = place if place.is_file() else place / ARCHIVE
    if not archive.is_file():
        raise FileNotFoundError(f"neither .mat files nor {ARCHIVE} in {place}: {hint}")
    return _archived(archive)


def _archived(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Read the cars in a tar archive, packed or not, one after another; nothing is written anywhere."""
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                inside = PurePosixPath(member.name)
                if not member.isfile() or inside.parent.name != "cars" or inside.suffix != ".mat":
                    continue
                if not inside.name.startswith(".") and (file := archive.extractfile(member)) is not None:
                    yield inside.name, read(file.read(), f"{path}: {member.name}")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: damaged archive: {error}") from error
