from hypothesis import given
from hypothesis import strategies as st

from interp_jax.train import table
from interp_jax.train.groups import even_width, pack


def record(groups):
    return {str(i): {"runs": [run._asdict() for run in group]} for i, group in enumerate(groups)}


def test_added_seeds_leave_recorded_groups_alone():
    before = pack(table.grid({"beta": [1, 2, 3]}, 3), 4, {})
    after = pack(table.grid({"beta": [1, 2, 3]}, 5), 4, record(before))
    assert [len(group) for group in before] == [4, 4, 1]
    assert after[:3] == before
    assert [len(group) for group in after] == [4, 4, 1, 4, 2]


def test_fewer_seeds_leave_out_only_groups_nobody_wants():
    before = pack(table.grid({"beta": [1, 2]}, 4), 4, {})
    assert pack(table.grid({"beta": [1, 2]}, 1), 4, record(before)) == before[:1]


@given(st.integers(1, 500), st.integers(1, 100), st.integers(1, 8))
def test_even_width_is_a_multiple_that_wastes_little(runs, most, unit):
    width = even_width(runs, most, unit)
    groups = -(-runs // width)
    assert width % unit == 0
    assert width <= max(most, unit)
    assert groups * width - runs < groups * unit
    assert groups <= -(-runs // max(most - most % unit, unit))
