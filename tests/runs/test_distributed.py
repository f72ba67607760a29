import os

import pytest

from interp_jax.runs import distributed
from interp_jax.runs.distributed import Cluster, parse

SLURM = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4", "SLURM_PROCID": "3"}


@pytest.mark.parametrize(
    "spec", ["", "on", "host,1,0", "host:1,2,2", "host:1,0,0", "host:1,2", "host:x,2,1", "a b:1,2,1"]
)
def test_bad_specs_are_refused(spec):
    with pytest.raises(ValueError, match="HOST:PORT,N,I"):
        parse(spec, {})


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("node[001-004,007]", "node001"), ("a1,b2", "a1"), ("gpu-7", "gpu-7"), ("rack[3,5]-ib,other", "rack3-ib")],
)
def test_slurm_is_read_whole(nodes, host):
    assert parse("auto", SLURM | {"SLURM_JOB_NODELIST": nodes}) == Cluster(f"{host}:61517", 4, 3)


def test_slurm_half_set_says_what_is_missing():
    with pytest.raises(ValueError, match="SLURM_JOB_NODELIST not set"):
        parse("auto", SLURM)
    with pytest.raises(ValueError, match="INTERP_JAX_PROCESSES"):
        parse("auto", {"INTERP_JAX_COORDINATOR": "h:1", "INTERP_JAX_PROCESS": "0"})
    with pytest.raises(ValueError, match="under srun"):
        parse("auto", {})


def test_tasks_that_see_all_gpus_take_their_own():
    more = {"SLURM_JOB_NODELIST": "n1", "SLURM_LOCALID": "1", "SLURM_NTASKS_PER_NODE": "2"}
    assert parse("auto", SLURM | more | {"CUDA_VISIBLE_DEVICES": "0,1"}).local == (1,)
    assert parse("auto", SLURM | more | {"CUDA_VISIBLE_DEVICES": "1"}).local is None


def test_own_variables():
    names = ("INTERP_JAX_COORDINATOR", "INTERP_JAX_PROCESSES", "INTERP_JAX_PROCESS")
    assert parse("auto", dict(zip(names, ("h:1", "2", "1"), strict=True))) == Cluster("h:1", 2, 1)


def test_too_late_is_said(key):
    key.block_until_ready()  # a device is in use now
    with pytest.raises(ValueError, match="cannot join 127"):
        distributed.initialize("127.0.0.1:1,2,1")


@pytest.mark.parametrize(("given", "pool"), [({}, None), ({"JAX_NUM_CPU_DEVICES": "50"}, "200"), ({"NPROC": "3"}, "3")])
def test_the_pool_has_more_threads_than_devices_unless_told(monkeypatch, given, pool):
    for name in ("NPROC", "JAX_NUM_CPU_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")  # jax's own settings stay
    distributed.use_every_core()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert os.environ["NPROC"] == (pool or str(4 * cores))
