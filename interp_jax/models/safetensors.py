"""Read and write safetensors files, memory-mapped, with neither torch nor pickle; whatever is wrong is one clear error.

A file is a length (8 bytes, little-endian), a header of so many bytes (JSON: a name to dtype, shape and the span of its
bytes) and the values, in C order, little-endian, without holes. A checkpoint is such a file or a folder: one file
`model.safetensors`, or several with `model.safetensors.index.json`, which says which tensor is where.

    tensors = checkpoint("folder")                 # nothing but headers is read yet
    w = jnp.asarray(tensors["encoder.weight"])

The reference reader (`safetensors` 0.8) allows headers of 100 MB; we allow 16 MiB, some 100,000 tensors, because JSON
grows thirtyfold when it is parsed. As there, spans must cover the values exactly and names must not repeat.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from interp_jax.core.types import Numpy

_LONGEST = 2**24
_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"
_DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype("?"), "U8": np.dtype("u1"), "I8": np.dtype("i1"), "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"), "U32": np.dtype("<u4"), "I32": np.dtype("<i4"), "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"), "BF16": np.dtype(jnp.bfloat16), "F8_E4M3": np.dtype(jnp.float8_e4m3fn),
    "F8_E5M2": np.dtype(jnp.float8_e5m2), "F8_E8M0": np.dtype(jnp.float8_e8m0fnu),
    "F8_E4M3FNUZ": np.dtype(jnp.float8_e4m3fnuz), "F8_E5M2FNUZ": np.dtype(jnp.float8_e5m2fnuz),
}  # fmt: skip
"""The format's names. Its packed types of 4 and 6 bits (F4, F6_E2M3, F6_E3M2) have no numpy type and are refused."""


class Span(NamedTuple):
    """Where a tensor lies. start: its first byte in the file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int


class Header(NamedTuple):
    """What a file says of itself. spans: by name. metadata: text by name, `{}` if it has none."""

    spans: dict[str, Span]
    metadata: dict[str, str]


def header(path: str | os.PathLike) -> Header:
    """Read and check the header of a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: for whatever is not right, by file and tensor.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with open(path, "rb") as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(8)
            length = int.from_bytes(head, "little")
            if len(head) < 8 or length > size - 8:
                raise ValueError(f"cut short: a header of {length} bytes in a file of {size}")
            fields = _parse(_text(file.read(_bounded(length)), "{"))
        metadata = fields.pop("__metadata__", {})
        if not (isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())):
            raise ValueError(f"want text by name as __metadata__, got {_brief(metadata)}")
        return Header(_spans(fields, 8 + length, size), metadata)
    except ValueError as error:
        raise ValueError(f"{path}: not a sound safetensors file: {error}") from None


def read(path: str | os.PathLike) -> dict[str, Numpy]:
    """Map the tensors of a file into memory, read-only; values are read from the disk when they are asked for.

    Raises:
        FileNotFoundError: no such file.
        ValueError: for whatever is not right, by file and tensor.
    """
    spans, whole = header(path).spans, np.memmap(path, np.uint8, "r").view(np.ndarray)
    return {name: _tensor(Path(path), name, whole, span) for name, span in spans.items()}


def checkpoint(path: str | os.PathLike) -> dict[str, Numpy]:
    """Map the tensors of a file, or of a folder's one file or several, as `read`.

    Raises:
        FileNotFoundError: a folder with neither `model.safetensors` nor an index, or a file of the index is missing.
        ValueError: for whatever is not right, by file and tensor.
    """
    path = Path(path)
    if not path.is_dir():
        return read(path)
    if not (path / _INDEX).exists():
        if not (path / _SINGLE).exists():
            raise FileNotFoundError(f"want {_SINGLE} or {_INDEX} in {path}: neither is there")
        return read(path / _SINGLE)
    places = _index(path / _INDEX)
    parts = {file: read(path / file) for file in sorted(set(places.values()))}
    for name, file in places.items():
        if name not in parts[file]:
            raise ValueError(f"{path / file}: no tensor {name!r}, which {_INDEX} says is there")
    return {name: parts[file][name] for name, file in places.items()}


def write(
    path: str | os.PathLike, tensors: Mapping[str, np.typing.ArrayLike], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a file of tensors; a file of that name is replaced once all of it is written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> write(path, {"w": np.eye(2, dtype=np.float32)})
    >>> read(path)["w"]
    array([[1., 0.],
           [0., 1.]], dtype=float32)

    Raises:
        ValueError: a dtype that the format lacks, or a tensor named `__metadata__`.
    """
    path, names = Path(path), {dtype: name for name, dtype in _DTYPES.items()}
    arrays = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    arrays = dict(sorted(arrays.items(), key=lambda pair: -pair[1].dtype.itemsize))  # so that all of them are aligned
    fields: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name, array in arrays.items():
        kind = names.get(array.dtype.newbyteorder("<"))
        if name == "__metadata__" or kind is None:
            raise ValueError(f"want tensors of dtype {', '.join(map(str, names))}, got {array.dtype} called {name!r}")
        fields[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    with open(part, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    part.replace(path)


def _bounded(length: int) -> int:
    if length > _LONGEST:
        raise ValueError(f"want a header of at most {_LONGEST} bytes, got {length}")
    return length


def _text(data: bytes, first: str) -> str:
    """Decode; the format asks for a `{` at the very start, which also keeps other encodings of JSON out."""
    text = data.decode()  # UnicodeDecodeError is a ValueError
    if not text.startswith(first):
        raise ValueError(f"want a header that starts with {first}, got {_brief(text)}")
    return text


def _parse(text: str) -> dict:
    """Parse a JSON object in which no name is said twice."""

    def unique(pairs: list[tuple[str, object]]) -> dict:
        found = {}
        for name, value in pairs:
            if name in found:
                raise ValueError(f"{_brief(name)} is there twice")
            found[name] = value
        return found

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def _spans(fields: dict, start: int, size: int) -> dict[str, Span]:
    """Check every tensor's span, and that together they cover the bytes from `start` to `size` exactly."""
    pairs = {name: _span(name, field, start, size) for name, field in fields.items()}
    end = start
    for name, (span, stop) in sorted(pairs.items(), key=lambda pair: (pair[1][0].start, pair[1][1])):
        if span.start != end:
            what = "overlaps the one before it" if span.start < end else f"leaves {span.start - end} bytes to nobody"
            raise ValueError(f"tensor {_brief(name)} {what}")
        end = stop
    if end != size:
        raise ValueError(f"{size - end} bytes belong to no tensor")
    return {name: span for name, (span, _) in pairs.items()}


def _span(name: str, field: object, start: int, size: int) -> tuple[Span, int]:
    """Check one tensor; give its span and where it stops."""
    if not (isinstance(field, dict) and field.keys() == {"dtype", "shape", "data_offsets"}):
        raise ValueError(f"want dtype, shape and data_offsets of tensor {_brief(name)}, got {_brief(field)}")
    kind, shape, offsets = field["dtype"], field["shape"], field["data_offsets"]
    if not (isinstance(kind, str) and kind in _DTYPES):
        raise ValueError(f"want a dtype among {', '.join(_DTYPES)} of tensor {_brief(name)}, got {_brief(kind)}")
    if not (_counts(shape) and len(shape) <= 32):
        raise ValueError(f"want at most 32 axes of tensor {_brief(name)}, each a whole number, got {_brief(shape)}")
    room = size - start
    if not (_counts(offsets) and len(offsets) == 2 and offsets[0] <= offsets[1] <= room):
        raise ValueError(
            f"want data_offsets [first, last] within {room} bytes of tensor {_brief(name)}, got {_brief(offsets)}"
        )
    dtype = _DTYPES[kind]
    if (wanted := math.prod(shape) * dtype.itemsize) != offsets[1] - offsets[0]:
        have = offsets[1] - offsets[0]
        raise ValueError(f"{kind} {_brief(shape)} is {_brief(wanted)} bytes, tensor {_brief(name)} has {have}")
    if math.prod(max(n, 1) for n in shape) >= 2**59:  # beside an axis of 0, where the size says nothing
        raise ValueError(f"want axes that numpy can hold of tensor {_brief(name)}, got {_brief(shape)}")
    return Span(dtype, tuple(shape), start + offsets[0]), start + offsets[1]


def _counts(values: object) -> bool:
    return isinstance(values, list) and all(type(n) is int and n >= 0 for n in values)


def _tensor(path: Path, name: str, whole: Numpy, span: Span) -> Numpy:
    stop = span.start + math.prod(span.shape) * span.dtype.itemsize
    data = whole[span.start : stop]
    if span.dtype == bool and data.size and data.max() > 1:
        raise ValueError(f"{path}: not a sound safetensors file: tensor {_brief(name)} has booleans of {data.max()}")
    return data.view(span.dtype).reshape(span.shape)


def _index(path: Path) -> dict[str, str]:
    """Read which tensor is in which file of the same folder."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            places = _parse(_text(file.read(_bounded(size)).lstrip(), "{")).get("weight_map")
        if not (isinstance(places, dict) and places and _plain(places.values())):
            raise ValueError(f"want weight_map to give names of files beside it, got {_brief(places)}")
    except ValueError as error:
        raise ValueError(f"{path}: not a sound index: {error}") from None
    return places


def _plain(files: Iterable[object]) -> bool:
    """Say whether these are names of files, with no way out of the folder."""
    return all(isinstance(file, str) and re.fullmatch(r"[^./\\\0][^/\\\0]{0,199}", file) for file in files)


def _brief(value: object) -> str:
    """Show a value of a header in a few characters, on one line, however long or strange it is."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, list) and len(value) <= 8 and not any(isinstance(entry, list | dict) for entry in value):
        return f"[{', '.join(map(_brief, value))}]"
    if isinstance(value, list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
