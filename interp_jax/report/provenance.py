"""What made a result: versions, device, revision, time. The fields that every manifest shares."""

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("interp_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy")


def begin(experiment: str, preset: str, config: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Start a manifest (see `records.MANIFEST`): all but the result; `more` are its optional fields.

    >>> begin("vae_mean_vs_sampled", "quick", {"steps": 10})["finished"]
    False
    """
    return {
        "experiment": experiment,
        "preset": preset,
        "config": dict(config),
        "versions": versions(),
        "device": device(),
        "wall_seconds": 0.0,
        "git_revision": revision(),
        "started": now(),
        "ended": None,
        "finished": False,
        "seeds": [],
        "diverged": [],
        **more,
    }


def end(
    manifest: Mapping[str, Any], *, wall_seconds: float, seeds: Sequence[int], diverged: Sequence[Any]
) -> dict[str, Any]:
    """Complete a manifest. diverged: the runs that are masked, each as words or as a mapping that names it."""
    done = {"wall_seconds": wall_seconds, "seeds": list(seeds), "diverged": list(diverged)}
    return {**manifest, **done, "ended": now(), "finished": True}


def versions() -> dict[str, str]:
    """Give the versions of Python and of what computes."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def device() -> str:
    """Describe the devices of this program in words: '2 x NVIDIA H100 80GB HBM3' or 'AMD EPYC 7B13, 2 cores'."""
    devices = jax.devices()
    if devices[0].platform != "cpu":
        return f"{len(devices)} x {devices[0].device_kind}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    simulated = f", {len(devices)} simulated devices" if len(devices) > 1 else ""
    return f"{_processor()}, {cores} cores{simulated}"


def revision() -> str | None:
    """Give the git revision of this code, with '-dirty' if files were changed; None outside a repository."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # installed inside somebody else's repository
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def now() -> str:
    """Give the time in UTC, to the second, as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or "CPU"
