"""Kernels on disk against kernels in memory; kills, parts, damage, other kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.ntk import kernels, operators, solvers, stored
from interp_jax.runs.errors import StoreError
from interp_jax.runs.parts import Part
from tests import processes
from tests.ntk import storing
from tests.ntk.nets import CASES
from tests.runs.conftest import Server


@pytest.fixture(scope="module")
def problem():
    with jax.enable_x64(True):
        case = CASES["mlp"]()
    single = jax.tree.map(lambda a: np.asarray(a, np.float32), case.params)
    return case.apply, single, np.random.default_rng(1).standard_normal((11, 12)).astype(np.float32)


@pytest.mark.parametrize("kernel", [kernels.trace, kernels.pseudo, kernels.empirical])
def test_equals_the_kernel_in_memory(problem, tmp_path, kernel):
    found = stored.gram_to_store(*problem, tmp_path / "k", kernel=kernel, tile=4)
    want = jax.jit(lambda params, xs: kernel(problem[0], params, xs))(*problem[1:])
    want = np.asarray(operators.flatten(want) if want.ndim == 4 else want)
    whole = found.array.read([(0, n) for n in found.array.shape])
    np.testing.assert_allclose(whole, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())
    assert np.array_equal(whole, whole.T)
    np.testing.assert_array_equal(found.rows(3, 5), whole[3 * found.outputs : 5 * found.outputs])
    stored.verify(tmp_path / "k")
    vector = np.linspace(-1, 1, whole.shape[0], dtype=np.float32)
    np.testing.assert_allclose(jax.jit(found.operator().matvec)(vector), whole @ vector, rtol=1e-4, atol=1e-3)


def test_parts_together_make_the_whole(problem, tmp_path):
    stored.gram_to_store(*problem, tmp_path / "whole", tile=2)
    assert stored.gram_to_store(*problem, tmp_path / "parts", tile=2, part=Part(1, 2)) is None
    with pytest.raises(StoreError, match="lacks 9 tiles"):
        stored.open_kernel(tmp_path / "parts")
    found = stored.gram_to_store(*problem, tmp_path / "parts", tile=2, part=Part(2, 2))
    want = stored.open_kernel(tmp_path / "whole")
    assert np.array_equal(found.rows(0, 11), want.rows(0, 11))


def test_another_kernel_is_refused(problem, tmp_path):
    apply, params, xs = problem
    stored.gram_to_store(apply, params, xs, tmp_path / "k", tile=4)
    with pytest.raises(StoreError, match=r"another configuration .*params"):
        stored.gram_to_store(apply, jax.tree.map(lambda a: 2 * a, params), xs, tmp_path / "k", tile=4)
    with pytest.raises(StoreError, match=r"another configuration .*xs"):
        stored.gram_to_store(apply, params, xs + 1, tmp_path / "k", tile=4)
    with pytest.raises(StoreError, match=r"another configuration .*model"):
        stored.gram_to_store(lambda p, x: jnp.sin(apply(p, x)), params, xs, tmp_path / "k", tile=4)


def test_every_flipped_bit_is_found(problem, tmp_path):
    stored.gram_to_store(*problem, tmp_path / "k", tile=4)
    rng = np.random.default_rng(0)
    files = [path for path in (tmp_path / "k" / "kernel").rglob("*") if path.is_file() and path.name != "zarr.json"]
    assert len(files) == 9
    for path in files:
        sound = path.read_bytes()
        flipped = bytearray(sound)
        flipped[rng.integers(len(flipped))] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(StoreError):
            stored.verify(tmp_path / "k")
        path.unlink()
        with pytest.raises(StoreError, match="not what was committed"):
            stored.verify(tmp_path / "k")
        path.write_bytes(sound)
    stored.verify(tmp_path / "k")


def test_solves_from_disk(problem, tmp_path):
    found = stored.gram_to_store(*problem, tmp_path / "k", tile=4)
    whole = found.rows(0, 11)
    solution = solvers.conjugate_gradients(found.operator(), jnp.ones(11), ridge=1.0, tolerance=1e-4)
    assert solution.converged
    np.testing.assert_allclose(solution.x, np.linalg.solve(whole + np.eye(11), np.ones(11)), rtol=1e-2, atol=1e-3)


def test_bad_input(problem, tmp_path):
    with pytest.raises(ValueError, match="tile >= 1"):
        stored.gram_to_store(*problem, tmp_path / "k", tile=0)
    with pytest.raises(ValueError, match="want kernel among empirical, trace and pseudo"):
        stored.gram_to_store(*problem, tmp_path / "k", kernel=kernels.diagonal)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory):
    """What a program that nobody kills stores."""
    answer = server.run(tmp_path_factory.mktemp("undisturbed") / "k", write=0)
    assert answer["writes"] == storing.WRITES, answer
    return answer["kernel"]


def kills(server, root, seed, count):
    """Kill `count` programs at writes of tiles; give what the last program, which is left alone, stored."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        order = {"write": int(draw.integers(1, 6)), "mode": str(draw.choice(storing.MODES)), "bytes": 0}
        order["bytes"] = int(draw.integers(1, 64))  # of the 260 of a tile's file
        answer = server.run(root, **order)
        if answer["code"] == 0:  # so near the end that its turn never came
            break
        assert answer["code"] == (-25 if order["mode"] == "inside" else -9), answer
    answer = server.run(root, write=0)
    stored.verify(root)
    return answer["kernel"]


def test_kills_leave_the_same_bits(server, undisturbed, tmp_path):
    assert kills(server, tmp_path / "k", 0, 3) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_forty_kills_leave_the_same_bits(server, undisturbed, tmp_path, seed):
    assert kills(server, tmp_path / "k", seed, 5) == undisturbed


def on_mesh(root, mesh, devices, specs=("off",)):
    module = f"import sys, tests.ntk.storing as s; s.main({str(root)!r}, sys.argv[1], {mesh!r})"
    children = [processes.start(module, spec, devices=devices) for spec in specs]
    return {processes.finish(child).split()[-1] for child in children}


@pytest.mark.slow
@pytest.mark.parametrize(("mesh", "devices"), [("2x2", 4), ("4x1", 4), ("4x2", 8), ("2x4", 8)])
def test_many_devices_store_the_kernel_of_one(tmp_path, mesh, devices):
    on_mesh(tmp_path / "mesh", mesh, devices)
    agrees(tmp_path)


def test_two_processes_store_the_kernel_of_one(tmp_path):
    port = processes.free_port()
    assert len(on_mesh(tmp_path / "mesh", "2x2", 2, [f"127.0.0.1:{port},2,{i}" for i in range(2)])) == 1
    agrees(tmp_path)


def agrees(folder):
    want, found = storing.store(folder / "one"), stored.open_kernel(folder / "mesh")
    stored.verify(folder / "mesh")
    want, got = want.rows(0, storing.COUNT), found.rows(0, storing.COUNT)
    assert np.array_equal(got, got.T)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6 * np.abs(want).max())
