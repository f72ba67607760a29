"""Tables and planes as figures: what is written is the mean and its interval, and what is undefined is said."""

import numpy as np
import pytest

from interp_jax.core.intervals import student
from interp_jax.report import cells
from tests.report.test_figures import pixels

VALUES = np.array([0.1, 0.4, 0.4, 0.7])


def written(figure):
    return [text.get_text() for text in figure.texts]


def test_a_cell_is_the_mean_and_half_its_interval():
    mean, beneath = cells.cell(VALUES, 100, 2)
    interval = student(VALUES)
    assert mean == "40.00"
    assert beneath == f"± {50 * (interval.high - interval.low):.2f}"


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([], ("-", "")),
        ([np.nan], ("-", "")),
        ([2.0], ("2.0", "")),
        ([2.0, np.inf], ("2.0", "1 left out")),
        ([-1e-9], ("0.0", "")),
    ],
)
def test_a_cell_says_what_is_undefined(values, want):
    assert cells.cell(values) == want


def test_a_table_has_every_row_and_column_and_dashes_where_nothing_is():
    figure = cells.table({"one": {"a": VALUES}, "two": {"b": VALUES, "a": [0.5]}}, title="Scores", note="per cent")
    words = written(figure)
    assert {"Scores", "per cent", "one", "two", "a", "b", "40.0", "50.0", "-"} <= set(words)
    assert pixels(figure).std() > 5
    with pytest.raises(ValueError, match="want at least one row and column"):
        cells.table({}, title="Scores", note="per cent")


def test_a_plane_has_means_with_intervals_both_ways():
    panels = {"p": cells.Plane({"s": (VALUES, VALUES + 1)}, 1.2), "q": cells.Plane({"t": ([1.0], [np.nan])})}
    figure = cells.planes(panels, title="Planes", xlabel="x", ylabel="y", dashed="the level")
    first, second = figure.axes
    lines = [np.stack(line.get_data()) for line in first.lines]
    interval = student(VALUES)
    across, up, middle = lines[2:5]
    np.testing.assert_allclose(across, [[interval.low, interval.high], [1.4, 1.4]])
    np.testing.assert_allclose(up, [[0.4, 0.4], [1 + interval.low, 1 + interval.high]])
    np.testing.assert_allclose(middle, [[0.4], [1.4]])
    np.testing.assert_array_equal(lines[0][1], [1.2, 1.2])
    assert all(len(line.get_xdata()) == 0 for line in second.lines)
    assert figure.legends[0].get_texts()[1].get_text() == "t"
    assert pixels(figure).std() > 5


def test_a_plane_refuses_what_does_not_belong_together():
    with pytest.raises(ValueError, match=r"want series 's' as two vectors of one length, got \(4,\), \(2,\)"):
        cells.planes({"p": cells.Plane({"s": (VALUES, [1, 2])})}, title="P", xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="want at least one panel with points"):
        cells.planes({"p": cells.Plane({})}, title="P", xlabel="x", ylabel="y")
