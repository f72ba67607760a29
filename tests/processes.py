"""Run Python in a process of its own: for simulated devices, kills, several hosts."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment(devices=1, **extra):
    """Give the environment of a child with `devices` simulated CPU devices and DeprecationWarnings as errors."""
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error::DeprecationWarning",
        **extra,
    }


def run(source, *arguments, devices=1, check=True, **extra):
    """Run `source` (code, or a path to a file) with `devices` simulated CPU devices; give the finished process."""
    head = [str(source)] if isinstance(source, Path) else ["-c", source]
    done = subprocess.run(
        [sys.executable, *head, *map(str, arguments)],
        env=environment(devices, **extra), capture_output=True, text=True, check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done
