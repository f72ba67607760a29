"""What made a result: versions, device, revision, time."""

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import jax

PACKAGES = ("interp_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy")


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


def revision(root: Path | None = None) -> str | None:
    """Give the git revision of a checkout (this code's), with '-dirty' if files were changed; None outside one."""
    root = Path(__file__).parents[2] if root is None else root
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
