"""The persistent compilation cache: a second start takes about 1/60 of the first one's compile time."""

import hashlib
import os
import platform
from pathlib import Path

import jax


def enable(folder: Path | str | None = None) -> Path | None:
    """Keep compiled programs in `folder`; give it, or None when the cache is off.

    The default is `interp_jax/<machine>` under `XDG_CACHE_HOME` (else `~/.cache`); `<machine>` changes with the
    processor, because XLA's CPU programs use what the processor has, and homes are shared between unlike machines. A
    folder set by `JAX_COMPILATION_CACHE_DIR` stays. `INTERP_JAX_NO_CACHE=1` turns all of it off. A folder that cannot
    be written turns it off too: a cache is no reason to fail.
    """
    if os.environ.get("INTERP_JAX_NO_CACHE", "") not in ("", "0"):
        return None
    given = folder or os.environ.get("JAX_COMPILATION_CACHE_DIR") or _default()
    path = Path(given).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(path, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)  # below that, a file costs what it saves
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return path


def _default() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base) / "interp_jax" / _machine()


def _machine() -> str:
    """Name the processor: architecture, and a hash of its model and features where the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return f"{platform.machine()}-{hashlib.sha256(repr(facts or platform.processor()).encode()).hexdigest()[:8]}"
