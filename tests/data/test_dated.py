"""Works of art are read with their years; what a title does not tell apart is left out."""

import numpy as np
import pytest

from interp_jax.data import dated

HEAD = "title,creator,release_date,length,entity_type,is_test\n"


def write(path, *rows):
    path.write_text(HEAD + "\n".join(rows))
    return path


def test_titles_of_one_year_are_read_once(tmp_path):
    table = write(
        tmp_path / "art.csv", '"I, Robot",Isaac Asimov,1950-12-02,253.0,book,False', "Carrie,A,1974-04-05,,book,True",
        "Carrie,B,1974-11-16,,movie,False", "Misery,A,1987-06-08,,book,False", "Misery,C,1990-11-30,,movie,False",
        "Help,D,1965-07-23,2.3,song,True",
    )  # fmt: skip
    found = dated.works(table)
    assert found.names == ("Carrie", "Help", "I, Robot")
    np.testing.assert_array_equal(found.years, [1974, 1965, 1950])
    assert [found.kinds[i] for i in found.kind] == ["book", "song", "book"]
    assert found.test.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title,release_date\nHelp,1965-07-23\n", "got no entity_type"),
        (HEAD + "Help,D,July 1965,2.3,song,True\n", "line 2: Invalid isoformat"),
        (HEAD + "Help,D\n", "line 2: Invalid isoformat"),
        (HEAD, "want at least one work"),
        (HEAD + "Help,D,1965-07-23,,song,True\nHelp,D,1990-01-01,,song,True\n", "want at least one work of one year"),
        (HEAD + "x" * 140_000, "field larger than field limit"),
    ],
)
def test_a_damaged_table_says_where(tmp_path, text, said):
    (tmp_path / "art.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"art\.csv: .*{said}"):
        dated.works(tmp_path / "art.csv")
