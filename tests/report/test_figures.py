import inspect
import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from interp_jax.core.intervals import student
from interp_jax.report import claims, figures
from tests.report import example


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"))


def words(figure):
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
    return [word for word in found if word]


def curves(values=None, **changes):
    values = example.measure(8)[0] if values is None else values
    arguments = {"title": "A rises with beta", "xlabel": "beta", "ylabel": "a (nats)"} | changes
    return figures.against_strength(example.BETAS, {"a": values}, **arguments)


def test_save_writes_twice_the_screen_size_and_the_same_bytes(tmp_path):
    one = figures.save(curves(), tmp_path / "one.png").read_bytes()
    two = figures.save(curves(), tmp_path / "two.png").read_bytes()
    assert one == two
    image = Image.open(io.BytesIO(one))
    assert image.width == figures.WIDTH * 200
    assert set(image.info) <= {"dpi"}  # no time, no version


def test_drawing_changes_no_global_state_and_imports_no_pyplot():
    before = dict(matplotlib.rcParams)
    figures.png(curves())
    assert dict(matplotlib.rcParams) == before
    assert "import matplotlib.pyplot" not in inspect.getsource(figures)


def test_band_is_the_student_interval_and_dots_are_the_seeds():
    values = example.measure(8)[0]
    figure = curves(values)
    axes = figure.axes[0]
    band = axes.collections[0].get_paths()[0].vertices
    expected = student(values)
    for b, beta in enumerate(example.BETAS):
        at = band[np.isclose(band[:, 0], beta), 1]
        np.testing.assert_allclose([at.min(), at.max()], [expected.low[b], expected.high[b]])
    mean = next(line for line in axes.lines if line.get_label() == "a")
    np.testing.assert_allclose(mean.get_ydata(), values.mean(0))
    dots = np.concatenate([line.get_ydata() for line in axes.lines if line is not mean])
    np.testing.assert_allclose(np.sort(dots), np.sort(values.ravel()))
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "4", "6", "8", "16"]


def test_undefined_values_are_counted_and_left_out():
    values = example.measure(8)[0]
    values[3, 2] = np.nan
    values[:, 5] = np.inf
    figure = curves(values)
    assert any("left out as undefined: 9" in word for word in words(figure))
    mean = next(line for line in figure.axes[0].lines if line.get_label() == "a").get_ydata()
    np.testing.assert_allclose(mean[2], np.delete(values[:, 2], 3).mean())
    assert np.isnan(mean[5])
    figures.png(figure)


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
def test_nothing_is_cut_off_at_the_edges(scale):
    """The outermost pixels of a figure stay white, whatever the size of the numbers."""
    values = example.measure(8)[0] * scale
    long = "The total correlation of the mean representation rises with beta, that of the sampled one falls with it"
    image = pixels(curves(values, title=long))
    for edge in (image[:4], image[-4:], image[:, :4], image[:, -4:]):
        assert edge.min() == 255


def test_traversals_show_each_image_where_it_belongs():
    images = np.linspace(0.2, 0.9, 6).reshape(2, 3, 1, 1, 1) * np.ones((2, 3, 8, 8, 1))
    figure = figures.traversals(images, title="t", rows=["first", "second"], columns=["-1", "0", "1"])
    axes = figure.axes[0]
    raster = axes.images[0].get_array()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    for k, row in enumerate(axes.get_yticks()):
        for s, column in enumerate(axes.get_xticks()):
            np.testing.assert_allclose(raster[round(row), round(column)], images[k, s, 0, 0, 0])


def test_grid_and_scatter_draw_what_is_given():
    images = np.random.default_rng(0).uniform(size=(5, 6, 6, 3))
    figure = figures.grid(images, title="Five", columns=3, labels="abcde")
    assert len(figure.axes) == 5
    np.testing.assert_allclose(figure.axes[3].images[0].get_array(), images[3].astype(np.float32))
    assert [axes.get_xlabel() for axes in figure.axes] == list("abcde")
    points = figures.scatter({"a": [1.0, 2.0]}, {"a": [3.0, 4.0]}, title="t", xlabel="x", ylabel="y", diagonal=True)
    np.testing.assert_allclose(points.axes[0].lines[0].get_xydata(), [[1, 3], [2, 4]])


def test_forest_draws_intervals_in_units_of_delta():
    judgements = claims.judge_page(example.findings(8, True))
    figure = figures.forest(judgements, title="Claims")
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 2.2]
    assert len(bars) == 3
    first = judgements[0].interval
    np.testing.assert_allclose(bars[0].get_xdata(), [first.low / 0.05, first.high / 0.05])
    assert any("not tested" in word or "one objective only" in word for word in words(figure))
    figures.png(figure)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: curves(title=" "), "title"),
        (lambda: curves(np.zeros((8, 5))), r"\[seeds, 6\]"),
        (lambda: figures.grid(np.zeros((2, 4, 4, 2)), title="t"), "1 or 3 channels"),
        (lambda: figures.grid(np.full((2, 4, 4), np.nan), title="t"), "32 undefined pixels"),
        (lambda: figures.grid(np.zeros((2, 4, 4)), title="t", labels=["a"]), "one label an image"),
        (lambda: figures.traversals(np.zeros((2, 4, 4)), title="t"), "rank 5"),
        (lambda: figures.traversals(np.zeros((1, 2, 4, 4)), title="t", columns=["a"]), "2 column labels"),
        (lambda: figures.scatter({"a": [1]}, {"b": [1]}, title="t", xlabel="x", ylabel="y"), "same groups"),
        (lambda: figures.scatter({"a": [1]}, {"a": [1, 2]}, title="t", xlabel="x", ylabel="y"), "one length"),
    ],
)
def test_bad_input_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_series_are_told_apart_without_colour():
    assert len(set(figures.PALETTE)) == len(set(figures.MARKERS)) == 7
    many = {name: example.measure(3)[0] for name in "abcdefg"}
    figure = figures.against_strength(example.BETAS, many, title="t", xlabel="x", ylabel="y")
    named = [line for line in figure.axes[0].lines if line.get_label() in many]
    assert len({line.get_marker() for line in named}) == 7
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(many)


def panels(**changes):
    mean, sampled, _ = example.measure(8)
    series = {"mean": mean, "sampled": sampled}
    return {
        "beta-VAE": figures.Panel(example.BETAS, series, "beta"),
        "AnnealedVAE": figures.Panel(example.BETAS[1:], {k: v[:, 1:] for k, v in series.items()}, "capacity", True),
        "third": figures.Panel(example.BETAS, {k: 4 * v for k, v in series.items()}, "lambda"),
    } | changes


def test_small_multiples_have_axes_of_their_own_and_one_scale_and_legend():
    figure = figures.multiples(panels(), title="Rises in all", ylabel="nats")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["beta-VAE", "AnnealedVAE", "third"]
    assert [axes.xaxis_inverted() for axes in figure.axes] == [False, True, False]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mean", "sampled"]
    for axes, panel in zip(figure.axes, panels().values(), strict=True):
        assert axes.get_xlabel() == panel.xlabel
        line = next(line for line in axes.lines if line.get_label() == "sampled")
        np.testing.assert_allclose(line.get_ydata(), panel.values["sampled"].mean(0))
    image = pixels(figure)
    for edge in (image[:3], image[-3:], image[:, :3], image[:, -3:]):
        assert (edge == 255).all()
    apart = figures.multiples(panels(), title="Rises in all", ylabel="nats", share=False)
    assert len({axes.get_ylim() for axes in apart.axes}) == 2


def test_small_multiples_count_what_is_undefined_and_refuse_other_series():
    bad = figures.Panel([1.0, 2.0], {"mean": np.full((8, 2), np.nan), "sampled": np.ones((8, 2))}, "gamma")
    assert any(
        "left out as undefined: 16" in w for w in words(figures.multiples(panels(bad=bad), title="t", ylabel="y"))
    )
    other = figures.Panel([1.0, 2.0], {"mean": np.ones((8, 2))}, "gamma")
    with pytest.raises(ValueError, match="want panels of the same series"):
        figures.multiples(panels(other=other), title="t", ylabel="y")
    with pytest.raises(ValueError, match=r"want series 'mean' as \[seeds, 3\], got \(8, 2\)"):
        figures.multiples({"a": bad._replace(x=[1.0, 2.0, 3.0])}, title="t", ylabel="y")


def test_a_matrix_shows_its_numbers_and_no_undefined_one():
    figure = figures.matrix([[1.0, -0.25], [-0.25, np.nan]], ["a score", "another rather long score"], title="Alike")
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.00", "-0.25", "-0.25"]
    picture = pixels(figure)
    assert (picture[:, :2] == 255).all()  # labels at the left have the room they take
    with pytest.raises(ValueError, match="want a square of 3 names"):
        figures.matrix(np.eye(2), ["a", "b", "c"], title="Alike")
