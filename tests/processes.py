"""Run Python in a process of its own: for simulated devices, kills, several hosts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax

ROOT = Path(__file__).parent.parent


def environment(devices=1, **extra):
    """Give the environment of a child with `devices` simulated CPU devices and DeprecationWarnings as errors."""
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error::DeprecationWarning",
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir or ""),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        **extra,
    }


def run(source, *arguments, devices=1, check=True, **extra):
    """Run `source` (code, or a path to a file) with `devices` simulated CPU devices; give the finished process."""
    head = [str(source)] if isinstance(source, Path) else ["-c", source]
    done = subprocess.run(
        [sys.executable, *head, *map(str, arguments)],
        env=environment(devices, **extra),
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def start(source, *arguments, devices=1, **extra):
    """Start `source` (code) and leave it running; `finish` waits for it."""
    environ = {k: v for k, v in environment(devices, **extra).items() if k != "JAX_NUM_CPU_DEVICES" or devices > 1}
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(child):
    """Wait for a child of `start`; give what it printed, or fail with all it said."""
    out, err = child.communicate(timeout=240)
    if child.returncode:
        raise AssertionError(f"exit {child.returncode}\n{out}\n{err}")
    return out


def free_port():
    """Give a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
