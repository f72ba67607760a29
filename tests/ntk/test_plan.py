"""What is said before against what is done: which way each parameter goes, its cost, its memory."""

import jax
import jax.numpy as jnp
import pytest

from interp_jax.models.classifiers import ResNet, WongKolter
from interp_jax.models.nets import CNN, MLP, functional
from interp_jax.ntk import kernels, plan
from tests.ntk.nets import CASES


@pytest.fixture(autouse=True, scope="module")
def _double():
    with jax.enable_x64(True):
        yield


NATURAL = {"add", "mul", ""}
"""What biases and scales meet; for them the Jacobian is the cheapest."""


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (MLP((30, 20, 4)), (12,)),
        (CNN(4, (6, 8)), (10, 10, 2)),
        (WongKolter(channels=(4, 6), hidden=12), (12, 12, 1)),
        (ResNet(width=8, blocks=(1, 1)), (8, 8, 3)),
    ],
)
def test_no_parameter_of_our_networks_falls_back(module, shape):
    net = functional(module, jnp.zeros(shape))
    params = jax.eval_shape(net.init, jax.random.key(0))
    found = plan.plan(net.apply, params, jax.ShapeDtypeStruct((20, *shape), jnp.float32), compiled=False)
    assert {row.reason for row in found.rows} <= NATURAL
    assert all(row.way in ("factors", "split") or len(row.shape) < 2 or row.reason == "" for row in found.rows)
    assert found.flops < found.jacobian_flops


def test_ways_and_reasons():
    case = CASES["odd_ones"]()
    rows = {row.name: row for row in plan.plan(case.apply, case.params, case.xs, compiled=False).rows}
    assert rows["unused"].way == rows["stopped"].way == "unused"
    assert rows["w"].reason == ""
    assert rows["log"].reason == "mul"  # exp(log) is no rearrangement of it
    assert "count" not in rows  # integers are constants
    case = CASES["transformer"]()
    rows = {row.name: row for row in plan.plan(case.apply, case.params, case.xs, compiled=False).rows}
    assert rows["embed"].reason == "", "a tied embedding has structure"
    case = CASES["branches"]()
    rows = {row.name: row for row in plan.plan(case.apply, case.params, case.xs, compiled=False).rows}
    assert rows["v"].reason == "cond"
    assert rows["u"].reason == ""


def test_pooled_head_is_split():
    net = functional(CNN(10, (8, 32)), jnp.zeros((16, 16, 1)))
    params = net.init(jax.random.key(0))
    found = plan.plan(net.apply, params, jax.ShapeDtypeStruct((40, 16, 16, 1), jnp.float32), compiled=False)
    assert {row.name: row.way for row in found.rows}["Conv_1/kernel"] == "split"


def test_memory_is_that_of_the_program():
    case = CASES["mlp"]()
    found = plan.plan(case.apply, case.params, case.xs, kernel=kernels.trace)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (case.params, case.xs))
    program = jax.jit(lambda params, xs: kernels.trace(case.apply, params, xs)).lower(*shapes).compile()
    sizes = program.memory_analysis()
    assert found.bytes == sizes.temp_size_in_bytes + sizes.output_size_in_bytes + sizes.argument_size_in_bytes
    assert "MiB at the peak" in str(found)
    with pytest.raises(ValueError, match="want kernel among"):
        plan.plan(case.apply, case.params, case.xs, kernel=kernels.nngp)
