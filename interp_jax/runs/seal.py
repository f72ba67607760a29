"""JSON that carries its own SHA-256, and files that are written whole or not at all."""

import hashlib
import json
import os
import socket
from pathlib import Path

from interp_jax.runs.errors import StoreError


def canonical(values: object) -> str:
    """Write JSON values in the one form that is hashed: sorted keys, no spaces, no NaN.

    >>> canonical({"b": (1, 2.0), "a": None})
    '{"a":null,"b":[1,2.0]}'

    Raises:
        ValueError: for what JSON cannot say (objects, NaN, infinity).
    """
    try:
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"want JSON values (numbers, text, lists, dicts, None; no NaN), got {values!r}: {error}"
        ) from None


def sha256(values: object) -> str:
    """Hash JSON values."""
    return hashlib.sha256(canonical(values).encode()).hexdigest()


def seal(record: dict) -> dict:
    """Add the hash of a record to it, under `seal`."""
    return record | {"seal": sha256(record)}


def check(record: object) -> dict:
    """Give a sealed record back.

    Raises:
        ValueError: if it is not what was sealed.
    """
    if not isinstance(record, dict) or "seal" not in record:
        raise ValueError("no seal")
    if record["seal"] != sha256({key: value for key, value in record.items() if key != "seal"}):
        raise ValueError("its content is not what its seal says")
    return record


def read(path: Path) -> dict:
    """Read a sealed file.

    Raises:
        StoreError: if it is missing or damaged, by path.
    """
    try:
        return check(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:  # json's and unicode's errors are ValueErrors
        raise StoreError(f"{path} is missing or damaged ({error})") from error


def write(path: Path, record: dict, *, replace: bool = True) -> None:
    """Write a record, sealed, whole or not at all. With `replace=False` a file that is there already wins.

    Raises:
        OSError: if it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp-{socket.gethostname()}-{os.getpid()}")
    try:
        with open(temporary, "w") as file:
            file.write(json.dumps(seal(record), indent=1, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:  # a link fails where a rename would overwrite: two tasks of a job array may both be first
            os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
