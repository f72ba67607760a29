import importlib.util
import sys

import numpy as np
import pytest

from interp_jax.concepts.model import check_groups
from interp_jax.data import zoo

HEADER = "\t".join(["name", *zoo.ATTRIBUTES, "type"])
CAT = "cat\t1\t0\t0\t1\t0\t0\t1\t1\t1\t1\t0\t0\t4\t1\t1\t1\tmammal"
CRAB = "crab\t0\t0\t1\t0\t0\t1\t1\t0\t0\t0\t0\t0\t8\t0\t0\t0\tinvertebrate"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Give a function that writes a package's zoo; the package would fail if it were imported."""
    folder = tmp_path / "Orange" / "datasets"
    folder.mkdir(parents=True)
    (tmp_path / "Orange" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "Orange", raising=False)
    importlib.invalidate_caches()

    def write(rows, header=HEADER):
        lines = [header, "string" + "\td" * 17, "meta" + "\t" * 16 + "\tclass", *rows]
        (folder / "zoo.tab").write_text("\n".join(lines) + "\n")

    return write


def test_animals_become_concepts(made):
    made([CAT, CRAB] * 50 + [CAT])
    found = zoo.load()
    assert found.animals[:2] == ("cat", "crab")
    assert found.data.inputs.shape == (101, 16)
    named = dict(zip(zoo.CONCEPTS, np.asarray(found.data.concepts[:2]).T.tolist(), strict=True))
    assert (named["hair"], named["eggs"], named["catsize"]) == ([1, 0], [0, 1], [1, 0])
    assert (named["4 legs"], named["8 legs"], named["0 legs"]) == ([1, 0], [0, 1], [0, 0])
    assert [zoo.CLASSES[i] for i in found.data.labels[:2]] == ["mammal", "invertebrate"]
    assert found.data.inputs[1, zoo.ATTRIBUTES.index("legs")] == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([CAT], "want 101 animals, got 1"),
        ([CAT.replace("\t4\t", "\t3\t")], "want legs among 0, 2, 4, 5, 6, 8, got '3' of 'cat'"),
        ([CAT.replace("cat\t1", "cat\tyes")], "want hair among 0, 1, got 'yes' of 'cat'"),
        ([CAT.replace("mammal", "robot")], "want a name, 16 attributes and a class"),
        ([CAT + "\t1"], "want a name, 16 attributes and a class"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(made, rows, said):
    made(rows)
    with pytest.raises(ValueError, match=rf"zoo\.tab: {said}"):
        zoo.load()


def test_other_columns_are_refused(made):
    made([CAT], HEADER.replace("milk", "wool"))
    with pytest.raises(ValueError, match="want columns name, hair"):
        zoo.load()


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"data.zoo.load needs Orange: pip install 'interp_jax\[data\]'"):
        zoo.load()


def test_the_real_zoo():
    if importlib.util.find_spec("Orange") is None:
        pytest.skip("needs the extra data")
    found = zoo.load()
    counts = dict(zip(zoo.CLASSES, np.bincount(found.data.labels).tolist(), strict=True))
    assert counts == {
        "amphibian": 4, "bird": 20, "fish": 13, "insect": 8, "invertebrate": 10, "mammal": 41, "reptile": 5,
    }  # fmt: skip
    told = np.asarray(found.data.concepts)
    assert set(np.unique(told)) == {0, 1}
    assert check_groups(zoo.GROUPS, told.shape[1]) == zoo.GROUPS
    np.testing.assert_array_equal(told[:, zoo.GROUPS[0]].sum(1), 1)
    named = dict(zip(zoo.CONCEPTS, told.T, strict=True))
    np.testing.assert_array_equal(named["milk"], np.asarray(found.data.labels) == zoo.CLASSES.index("mammal"))
    rows = {tuple(row) for row in told.tolist()}
    assert len(rows) == len({(*row, label) for row, label in zip(told.tolist(), found.data.labels.tolist())}) == 59  # noqa: B905
    assert found.animals.count("frog") == 2
    assert found.animals[told[:, zoo.CONCEPTS.index("5 legs")].argmax()] == "starfish"
    assert "Orange" not in sys.modules
