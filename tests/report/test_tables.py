import itertools
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_jax.report import tables


def example(rows=48):
    random = np.random.default_rng(0)
    return {
        "run": np.asarray([f"beta{i % 6}-seed{i // 6}" for i in range(rows)]),
        "seed": np.arange(rows) // 6,
        "beta": np.tile([1.0, 2.0, 4.0, 6.0, 8.0, 16.0], rows // 6),
        "total_correlation": random.normal(size=rows).astype(np.float32),
        "diverged": random.uniform(size=rows) < 0.1,
    }


def equal(one, other):
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype.kind == other[name].dtype.kind
        np.testing.assert_array_equal(one[name], other[name])


def test_round_trip_keeps_values_types_and_order(tmp_path):
    table = example()
    path = tables.write(tmp_path / "a" / "rows.parquet", table)
    back = tables.read(path)
    equal(back, table)
    assert back["total_correlation"].dtype == np.float32
    assert [file.name for file in path.parent.iterdir()] == ["rows.parquet"]


def test_nan_and_infinity_survive(tmp_path):
    values = np.asarray([np.nan, np.inf, -np.inf, 0.0, -0.0])
    back = tables.read(tables.write(tmp_path / "t.parquet", {"x": values}))["x"]
    assert back.tobytes() == values.tobytes()


def test_same_table_same_bytes():
    assert tables.encode(example()) == tables.encode(example())


def test_other_readers_see_the_same_numbers(tmp_path):
    path = tables.write(tmp_path / "t.parquet", example())
    frame = pq.read_table(path)
    np.testing.assert_array_equal(frame["total_correlation"].to_numpy(), example()["total_correlation"])
    assert frame["run"].to_pylist() == example()["run"].tolist()


def flips(data, count, seed):
    """Yield `count` copies of data with one bit flipped, one by chance in each of `count` equal shares."""
    random = np.random.default_rng(seed)
    edges = np.linspace(0, len(data) * 8, count + 1).astype(int)
    for low, high in itertools.pairwise(edges):
        bit = int(random.integers(low, max(high, low + 1)))
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << (bit % 8)
        yield bytes(broken)


def check_flips(count, seed, table):
    data = tables.encode(table)
    messages = []
    for broken in flips(data, count, seed):
        try:
            back = tables.decode(broken, "rows.parquet")
        except ValueError as error:
            messages.append(str(error))
        else:
            equal(back, table)  # what passes must be the truth
    assert all("rows.parquet" in message for message in messages)
    return len(messages)


def test_60_flipped_bits_give_an_error_or_the_truth():
    assert check_flips(60, 0, example()) >= 40


@pytest.mark.slow
def test_500_flipped_bits_give_an_error_or_the_truth():
    assert check_flips(500, 1, example(960)) >= 450


def test_truncation_and_deletion_name_the_file(tmp_path):
    data = tables.encode(example())
    path = tmp_path / "rows.parquet"
    for length in [0, 1, 4, len(data) // 2, len(data) - 9, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            tables.read(path)
    path.unlink()
    with pytest.raises(ValueError, match=re.escape(str(path))):
        tables.read(path)


def test_a_table_without_our_digest_is_refused(tmp_path):
    path = tmp_path / "foreign.parquet"
    pq.write_table(pq.read_table(tables.write(tmp_path / "t.parquet", example())).replace_schema_metadata({}), path)
    with pytest.raises(ValueError, match=r"foreign\.parquet: no digest"):
        tables.read(path)


def test_values_swapped_between_columns_are_noticed(tmp_path):
    path = tables.write(tmp_path / "t.parquet", {"a": [1.0, 2.0], "b": [3.0, 4.0]})
    frame = pq.read_table(path)
    pq.write_table(frame.rename_columns(["b", "a"]).replace_schema_metadata(frame.schema.metadata), path)
    with pytest.raises(ValueError, match="do not match the digest"):
        tables.read(path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "at least one column"),
        ({"x": [1, 2], "y": [1]}, "one length"),
        ({"x": [[1.0]]}, "vector"),
        ({"x": [1 + 2j]}, "vector"),
        ({"x": [None, 1.0]}, "vector"),
        ({"x": ["a", None]}, "vector"),
        ({"x": ["a", 1]}, "text throughout"),
        ({"x": ["a\0"]}, "text throughout"),
        ({"": [1]}, "names"),
    ],
)
def test_what_parquet_would_change_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        tables.encode(table)


def test_from_rows_wants_the_same_keys():
    with pytest.raises(ValueError, match="row 1"):
        tables.from_rows([{"a": 1}, {"b": 2}])
    with pytest.raises(ValueError, match="at least one row"):
        tables.from_rows([])


@pytest.mark.parametrize("cells", [[], [(0, 0.5), (1,)], [(0, 0.5, "a")]])
def test_cells_say_what_the_names_do(cells):
    with pytest.raises(ValueError, match=r"shorter|longer"):
        tables.from_cells(("seed", "loss"), cells)


def test_defined_names_the_undefined_rows():
    table = {"seed": [0, 1, 2], "beta": [1, 4, 16], "loss": [0.1, np.nan, 0.3], "kl": [np.inf, 1.0, 1.0]}
    with pytest.raises(ValueError, match=r"2 of 3 rows: kl at seed=0, beta=1; loss at seed=1, beta=4$"):
        tables.defined(table, by=("seed", "beta"))
    assert tables.defined(table, by=("seed",), among=("beta",))["seed"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="and 4 more"):
        tables.defined({"seed": np.arange(10), "x": np.full(10, np.nan)}, by=("seed",))
    with pytest.raises(ValueError, match="a column 'run'"):
        tables.defined(table, by=("run",))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(width=32), max_size=5),
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5), max_size=5),
)
def test_any_numbers_and_text_come_back(numbers, words):
    size = min(len(numbers), len(words))
    table = {"x": np.asarray(numbers[:size], np.float32), "w": np.asarray(words[:size], np.str_)}
    back = tables.decode(tables.encode(table), "t")
    assert back["x"].tobytes() == table["x"].tobytes()
    assert back["w"].tolist() == table["w"].tolist()
