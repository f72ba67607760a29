"""What a folder of results is: its configuration, and the versions and device that made it."""

import platform

import jax

from interp_jax.runs import provenance, seal

NAME = "manifest.json"


def environment() -> dict:
    """Say what this process runs on: versions, platform, devices, git revision of this package if it has one."""
    return {
        "versions": provenance.versions(),
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "device": provenance.device(),
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "git": provenance.revision(),
    }


def make(config: dict, **more: object) -> dict:
    """Make the manifest of a configuration: it, its hash, `environment()`, the time (UTC), and what else is given."""
    made = {"format": 1, "config": config, "hash": seal.sha256(config), "created": provenance.now()}
    return made | environment() | more


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
