import pytest

from interp_jax.runs.parts import Part


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1.0/2", "1/²"])
def test_bad_parts_are_refused(text):
    with pytest.raises(ValueError, match="1 <= I <= N"):
        Part.parse(text)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_parts_are_a_partition_in_order(count):
    items = list("abcdefghijk")
    blocks = [Part.parse(f"{i}/{count}").share(items) for i in range(1, count + 1)]
    assert [item for block in blocks for item in block] == items
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1
