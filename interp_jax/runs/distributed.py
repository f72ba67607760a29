"""Start JAX's multi-process runtime with explicit arguments: `--distributed off | auto | HOST:PORT,N,I`.

`jax.distributed.initialize()` without arguments guesses: on a SLURM node reached by ssh it sees half of SLURM's
variables and raises (jax issue 30073). `auto` here reads a complete set of variables or says which one is missing.
"""

import contextlib
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import jax

_OURS = ("INTERP_JAX_COORDINATOR", "INTERP_JAX_PROCESSES", "INTERP_JAX_PROCESS")
_SLURM = ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_NODELIST")


class Cluster(NamedTuple):
    """coordinator: HOST:PORT of process 0. processes: how many. process: which one. local: devices, None for all."""

    coordinator: str
    processes: int
    process: int
    local: tuple[int, ...] | None = None


def initialize(spec: str = "off", *, minutes: float = 30.0) -> Cluster | None:
    """Join the processes of one program; call it before anything asks JAX for devices.

    `minutes`: how long to wait for the others. JAX's 5 are too few after a preemption, when nodes come back one by one.

    Raises:
        ValueError: for a spec that cannot be read, incomplete variables, or a JAX that has already started.
    """
    cluster = parse(spec, os.environ)
    if cluster is None or jax.distributed.is_initialized():
        return cluster
    try:
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.processes,
            cluster.process,
            local_device_ids=cluster.local,
            cluster_detection_method="deactivate",
            initialization_timeout=round(60 * minutes),
            heartbeat_timeout_seconds=300,
        )
    except RuntimeError as error:
        raise ValueError(f"cannot join {cluster.coordinator} as process {cluster.process}: {error}") from error
    return cluster


def use_every_core() -> None:
    """Let JAX's CPU backend offer one device for each core, unless the environment says how many.

    A program whose runs are split over devices then has a core a run and no synchronisation within one. Of no effect
    on accelerators, nor once JAX has started.

    The pool on whose threads programs run gets more of them than cores, unless NPROC says how many: jaxlib 0.10 lets
    one wait there for a batch of LAPACK calls that it hands to others, and with a thread a device all can wait for
    ever. It costs some 6% more CPU time and no wall time (matrix products, two cores).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    devices = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    os.environ.setdefault("NPROC", str(4 * max(cores, int(devices) if devices.isdigit() else 0)))
    if devices or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", cores)


def parse(spec: str, environ: Mapping[str, str]) -> Cluster | None:
    """Read a spec; None for `off`.

    >>> parse("10.0.0.1:1234,4,0", {})
    Cluster(coordinator='10.0.0.1:1234', processes=4, process=0, local=None)

    Raises:
        ValueError: for a spec that cannot be read, or incomplete variables.
    """
    if spec == "off":
        return None
    if spec == "auto":
        return _auto(environ)
    match = re.fullmatch(r"(\S+:\d+),(\d+),(\d+)", spec)
    if not match or not int(match[3]) < int(match[2]):
        raise ValueError(f"want distributed as off, auto or HOST:PORT,N,I with 0 <= I < N processes, got {spec!r}")
    return Cluster(match[1], int(match[2]), int(match[3]))


def _auto(environ: Mapping[str, str]) -> Cluster:
    for names in (_OURS, _SLURM):
        if not any(name in environ for name in names):
            continue
        missing = [name for name in names if name not in environ]
        if missing:
            raise ValueError(f"distributed auto: {', '.join(missing)} not set while others of {', '.join(names)} are")
        if names is _OURS:
            return _checked(",".join(environ[name] for name in names))
        return _slurm(environ)
    raise ValueError(f"distributed auto: set {', '.join(_OURS)}, or run under srun, or give HOST:PORT,N,I")


def _checked(spec: str) -> Cluster:
    cluster = parse(spec, {})
    if cluster is None:
        raise ValueError(f"want INTERP_JAX_COORDINATOR as HOST:PORT, got {spec!r}")
    return cluster


def _slurm(environ: Mapping[str, str]) -> Cluster:
    """Read what `srun` sets; the port comes from the job's number, so that jobs on one node differ."""
    nodes = re.match(r"([^,\[]+)(?:\[(\w+)[^\]]*\]([^,]*))?", environ["SLURM_JOB_NODELIST"])
    job = environ["SLURM_JOB_ID"]
    if nodes is None or not job.isdigit():
        raise ValueError(f"distributed auto: cannot read SLURM_JOB_NODELIST={environ['SLURM_JOB_NODELIST']!r}, {job!r}")
    host = "".join(word for word in nodes.groups() if word)
    cluster = _checked(f"{host}:{61440 + int(job) % 4096},{environ['SLURM_NTASKS']},{environ['SLURM_PROCID']}")
    devices = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    local = environ.get("SLURM_LOCALID", "")
    # a task that sees all of a node's GPUs takes its own; with --gpus-per-task it sees one (jax issue 28194)
    tasks = environ.get("SLURM_NTASKS_PER_NODE", "")
    if len(devices) > 1 and local.isdigit() and tasks.isdigit() and int(tasks) == len(devices):
        return cluster._replace(local=(int(local),))
    return cluster
