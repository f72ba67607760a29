import jax
import numpy as np
import pytest

from interp_jax.train import meshes, program
from tests import processes
from tests.train import study, toy


def functions(width, batch=1, mesh=None):
    mesh = mesh or meshes.over_runs()
    data = meshes.place(mesh, toy.data())
    return program.functions(toy.make, ["lr"], data, program.Shape(width, batch, 20, 10), mesh)


def built_bytes(width, batch=1):
    made = functions(width, batch)
    return program.peak_bytes(made.advance.lower(*made.advance_arguments).compile())


def state_bytes():
    group = functions(1).advance_arguments[0]
    leaves = [jax.eval_shape(jax.random.key_data, x) if x.dtype == "key<fry>" else x for x in jax.tree.leaves(group)]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def test_memory_grows_by_one_runs_state_for_each_run():
    """Runs wait in a loop that changes them in place: activations are held once, each state once."""
    widths = np.array([2, 4, 8, 16])
    bytes_ = np.array([built_bytes(int(w)) for w in widths])
    slopes = np.diff(bytes_) / np.diff(widths)
    np.testing.assert_allclose(slopes, state_bytes(), rtol=0.1)


@pytest.mark.slow
def test_memory_of_the_studys_vae_grows_by_its_parameters_and_moments_for_each_seed():
    mesh = meshes.over_runs(1)
    data = meshes.place(mesh, study.data())

    def peak(width):
        made = program.functions(study.make, ["beta"], data, program.Shape(width, 1, 20, 10), mesh)
        return program.peak_bytes(made.advance.lower(*made.advance_arguments).compile())

    params = jax.eval_shape(study.NET.init, jax.random.key(0))
    state = 3 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))  # with Adam's two moments
    assert state == 3 * 4 * 690_517
    widths = np.array([2, 4, 8])
    np.testing.assert_allclose(np.diff([peak(int(w)) for w in widths]) / np.diff(widths), state, rtol=0.02)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_chunk_lowers_for_accelerators(platform):
    made = functions(4, 2)
    plain = jax.jit(made.advance.__wrapped__)
    exported = jax.export.export(plain, platforms=[platform])(*made.advance_arguments)
    assert exported.platforms == (platform,)


TWO = """
import sys
import jax
index, port = int(sys.argv[1]), sys.argv[2]
jax.config.update("jax_num_cpu_devices", int(sys.argv[3]))
if sys.argv[4] != "1":
    jax.distributed.initialize(f"127.0.0.1:{port}", int(sys.argv[4]), index)
from interp_jax.runs.digest import fingerprint
from tests.train.test_sweep import train
done = train(seeds=4, out=sys.argv[5])
print(fingerprint((done._group(done.chains[0]).states, done.history)))
"""


def test_two_processes_give_the_bits_of_one(tmp_path):
    port = processes.free_port()
    two = [processes.start(TWO, i, port, 2, 2, tmp_path / "two") for i in range(2)]
    one = processes.run(TWO, 0, 0, 4, 1, tmp_path / "one").stdout
    outputs = [processes.finish(child) for child in two]
    assert [text.splitlines()[-1] for text in outputs] == [one.strip()] * 2
