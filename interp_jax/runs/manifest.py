"""What a folder of results is: its configuration, and the versions and device that made it."""

import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path

import jax

from interp_jax.runs import seal

NAME = "manifest.json"
_PACKAGES = ("jax", "jaxlib", "numpy", "orbax-checkpoint", "interp_jax")


def environment() -> dict:
    """Say what this process runs on: versions, platform, devices, git revision of this package if it has one."""
    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "git": revision(),
    }


def make(config: dict, **more: object) -> dict:
    """Make the manifest of a configuration: it, its hash, `environment()`, the time (UTC), and what else is given."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"format": 1, "config": config, "hash": seal.sha256(config), "created": created} | environment() | more


def revision(folder: Path | None = None) -> str | None:
    """Give the git revision of a folder (default: this package's), with `+` if files differ; None without git."""
    folder = Path(__file__).parent if folder is None else folder
    try:
        head, status = (
            subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True)
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if status.stdout.strip() else "")


def differences(stored: object, here: object, path: str = "") -> list[str]:
    """List where two trees of JSON values differ, as `a.b: 1 there, 2 here`.

    >>> differences({"a": {"b": 1}}, {"a": {"b": 2}, "c": 3})
    ['a.b: 1 there, 2 here', 'c: nothing there, 3 here']
    """
    if isinstance(stored, dict) and isinstance(here, dict):
        found = []
        for key in sorted(stored.keys() | here.keys()):
            found += differences(stored.get(key, _NOTHING), here.get(key, _NOTHING), f"{path}.{key}" if path else key)
        return found
    same = repr(stored) == repr(here)  # 1, 1.0 and True are equal in Python and differ in a configuration
    return [] if same else [f"{path}: {stored!r} there, {here!r} here"]


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
