"""Tests of mini_models.viz: what is drawn is what was given, and everyone can read it."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from mini_models import viz

WEIGHTS = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.2, 0.3, 0.5]])
DRAWN = {
    "curves": lambda ax: viz.curves({"one": [3, 2, 1], "two": [1, 2, 3]}, ax=ax),
    "bars": lambda ax: viz.bars({"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 4}}, ax=ax),
    "heat": lambda ax: viz.heat(WEIGHTS, label="nats", diverging=True, numbers=True, ax=ax),
    "attention map": lambda ax: viz.attention_map(WEIGHTS, ["a", "b", "c"], ax=ax),
    "histogram": lambda ax: viz.histogram({"a": torch.randn(50), "b": torch.rand(50)}, ax=ax),
    "arrows": lambda ax: viz.arrows({"king": (1, 2), "queen": (-1, 0.5)}, ax=ax),
    "flow": lambda ax: viz.flow(lambda at: -at, {"a": [(1, 1), (0, 0)]}, ax=ax),
    "images": lambda ax: viz.images({"one": torch.rand(3, 1, 4, 4)}, ax=ax),
    "token strip": lambda ax: viz.token_strip(["To", " be", "\n", ",", "é"], ax=ax),
}


@pytest.fixture(autouse=True)
def closed():
    """No figure outlives its test."""
    yield
    plt.close("all")


def luminance(colour) -> float:
    """Relative luminance of a colour, as WCAG 2.1 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(one, other) -> float:
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


# what is drawn is what was given


def test_curves_hold_the_numbers_given_and_name_each_line():
    ax = viz.curves({"loss": torch.tensor([3.0, 2.0, 1.5]), "held out": ([0, 2], [3.5, 2.5])},
                    xlabel="step", ylabel="nats", title="Learning")  # fmt: skip
    first, second = ax.lines
    assert first.get_xdata().tolist() == [0, 1, 2] and first.get_ydata().tolist() == [3, 2, 1.5]
    assert second.get_xdata().tolist() == [0, 2] and second.get_ydata().tolist() == [3.5, 2.5]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["loss", "held out"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("step", "nats", "Learning")
    shared = viz.curves({"loss": [5, 6]}, x=[10, 20])
    assert shared.lines[0].get_xdata().tolist() == [10, 20] and shared.get_legend() is None


@pytest.mark.parametrize("log, scales", [("", "linear linear"), ("x", "log linear"),
                                         ("y", "linear log"), ("xy", "log log")])  # fmt: skip
def test_curves_have_the_scales_asked_for(log, scales):
    ax = viz.curves({"loss": [1, 2, 3]}, x=[125e6, 1.3e9, 175e9], log=log)
    assert f"{ax.get_xscale()} {ax.get_yscale()}" == scales
    if "x" in log:
        assert [t.get_text() for t in ax.get_xticklabels()] == ["1.25e+08", "1.3e+09", "1.75e+11"]


def test_bars_are_as_high_as_their_numbers_and_say_them():
    ax = viz.bars({"a": 1, "b": 2.345}, ylabel="seconds", fmt="{:.1f}")
    assert [bar.get_height() for bar in ax.patches] == [1, 2.345]
    assert [t.get_text() for t in ax.texts] == ["1.0", "2.3"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b"]
    assert ax.get_legend() is None and ax.get_ylabel() == "seconds"


def test_bars_of_several_series_stand_side_by_side():
    ax = viz.bars({"a": {"x": 1, "y": 2, "z": 3}, "b": {"x": 4, "y": 5, "z": 6}})
    assert [bar.get_height() for bar in ax.patches] == [1, 4, 2, 5, 3, 6]
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches)
    assert all(end <= begin for (_, end), (begin, _) in zip(spans, spans[1:]))
    middle = [bar.get_x() + bar.get_width() / 2 for bar in ax.patches]
    assert [sum(middle[i::2]) / 3 for i in (0, 1)] == pytest.approx([0, 1])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["x", "y", "z"]


def test_a_heat_map_shows_its_matrix_row_by_row():
    matrix = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])
    ax = viz.heat(matrix, ["r0", "r1"], ["c0", "c1", "c2"], "column", "row", numbers=True)
    assert ax.images[0].get_array().tolist() == matrix.tolist()
    written = {tuple(map(round, t.get_position())): t.get_text() for t in ax.texts}
    assert written == {(c, r): f"{matrix[r, c]:.2f}" for r in range(2) for c in range(3)}
    assert [t.get_text() for t in ax.get_yticklabels()] == ["r0", "r1"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["c0", "c1", "c2"]


def test_a_diverging_scale_has_zero_in_its_middle_and_a_name():
    ax = viz.heat([[1.0, -4.0]], label="change in nats", diverging=True)
    assert ax.images[0].get_clim() == (-4, 4)
    red, _, blue, _ = ax.images[0].cmap(ax.images[0].norm(-4.0))
    assert blue > red  # blue below zero
    assert "change in nats" in [other.get_ylabel() for other in ax.figure.axes]
    assert len(viz.heat([[1.0]]).figure.axes) == 1


def test_an_attention_map_names_queries_and_keys_and_begins_its_scale_at_zero():
    ax = viz.attention_map(WEIGHTS + 0.1, ["I", "saw", "her"])
    names = [[t.get_text() for t in labels] for labels in (ax.get_xticklabels(),
                                                            ax.get_yticklabels())]  # fmt: skip
    assert names == [["I", "saw", "her"]] * 2
    assert ax.images[0].get_clim() == (0, pytest.approx(1.1))
    assert "key" in ax.get_xlabel() and "query" in ax.get_ylabel()
    assert len(ax.texts) == 9  # few enough to be written
    assert not viz.attention_map(torch.rand(9, 9)).texts
    assert len(viz.attention_map(torch.rand(9, 9), numbers=True).texts) == 81
    other = viz.attention_map(WEIGHTS[:2], ["q0", "q1"], ["k0", "k1", "k2"])
    assert [t.get_text() for t in other.get_xticklabels()] == ["k0", "k1", "k2"]


def test_a_histogram_is_a_density_over_shared_bins():
    samples = {"a": torch.randn(300), "b": 3 * torch.randn(20, 10)}
    ax = viz.histogram(samples, xlabel="value", bins=25)
    assert len(ax.patches) == 50 and ax.get_ylabel() == "density"
    for i, sample in enumerate(samples.values()):
        bars = ax.patches[25 * i : 25 * (i + 1)]
        assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
        edges = [bar.get_x() for bar in bars] + [bars[-1].get_x() + bars[-1].get_width()]
        heights, _ = np.histogram(sample.numpy().ravel(), edges, density=True)
        assert [bar.get_height() for bar in bars] == pytest.approx(heights.tolist(), abs=0.02)


def test_arrows_begin_at_the_origin_end_at_their_vectors_and_fit():
    ax = viz.arrows({"king": torch.tensor([3.0, 1.0]), "man": (-1, -2)})
    ends = {tuple(a.xy): a.xyann for a in ax.texts if a.arrow_patch is not None}
    assert ends == {(3, 1): (0, 0), (-1, -2): (0, 0)}
    assert [t.get_text() for t in ax.texts if t.get_text()] == ["king", "man"]
    assert ax.get_xlim() == ax.get_ylim() == (-3.75, 3.75) and ax.get_aspect() == 1


@pytest.mark.parametrize("fonts, shown", [(["Noto Sans CJK SC"], "明月"), (["DejaVu Sans"], "□□")])
def test_a_token_strip_has_a_box_for_each_token_and_shows_spaces(fonts, shown, monkeypatch):
    monkeypatch.setattr(viz.font_manager, "get_font_names", lambda: fonts)
    tokens = ["To", " be", "\n", "明月", ""]
    ax = viz.token_strip(tokens)
    assert [t.get_text() for t in ax.texts] == ["To", "␣be", "↵", shown, ""]
    widths = [round(box.get_width() + 0.2) - 1 for box in ax.patches]
    assert widths == [2, 3, 1, 4, 0]  # a Chinese character is two wide


def test_a_token_strip_breaks_its_lines_between_tokens():
    ax = viz.token_strip(["word"] * 30, width=40)
    rows = {}
    for box in ax.patches:
        rows.setdefault(box.get_y(), []).append((box.get_x(), box.get_x() + box.get_width()))
    assert [len(row) for row in rows.values()] == [8, 8, 8, 6]
    low, high = ax.get_ylim()
    for y, row in rows.items():
        assert all(end < begin for (_, end), (begin, _) in zip(row, row[1:]))
        assert row[-1][1] <= 40 and low <= y and y + 0.8 <= high


# properties


def test_clouds_stand_side_by_side_with_a_circle_at_each_centre():
    sets = {"first": torch.zeros(5, 2), "second": [(1.0, 2.0)]}
    axes = viz.clouds(sets, centres=[(0, 1), (1, 0)], reach=3, title="both")
    assert [ax.get_title() for ax in axes] == ["first", "second"]
    circles, points = axes[1].collections
    assert circles.get_offsets().tolist() == [[0, 1], [1, 0]]
    assert points.get_offsets().tolist() == [[1, 2]] and axes[1].get_xlim() == (-3, 3)
    (alone,) = np.atleast_1d(viz.clouds({"one": [(0.0, 0.0)]}))
    assert len(alone.collections) == 1


def test_a_flow_points_where_the_velocity_does_and_holds_its_paths():
    ax = viz.flow(lambda at: np.stack([at[1], -at[0]]), {"path": [(1, 0), (0, -1)]}, reach=1)
    arrows = ax.collections[0]
    assert np.allclose(arrows.U, arrows.Y) and np.allclose(arrows.V, -arrows.X)
    assert ax.lines[0].get_xydata().tolist() == [[1, 0], [0, -1]]


def test_images_are_laid_out_in_their_rows_with_a_white_frame():
    dark, light = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    ax = viz.images({"dark": dark, "light": light})
    page = ax.images[0].get_array()
    assert page.shape == (12, 12, 3) and (page[0] == 1).all()
    assert (page[1:5, 1:5] == 0).all() and (page[7:11, 7:11] == 0.5).all()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["dark", "light"]
    tall = torch.zeros(1, 1, 4, 4)
    tall[0, 0, 0] = 1.0  # the first row of points is at the top
    assert viz.images({"": tall}).images[0].get_array()[1, 1:5].tolist() == [1] * 4


# on a busy machine, said of any legend that takes a second to place
@pytest.mark.filterwarnings("ignore:Creating legend with loc:UserWarning")
@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_is_drawn_on_the_axes_given_and_renders(name):
    figure, (left, right) = plt.subplots(1, 2)
    assert DRAWN[name](right) is right
    assert right.has_data() or right.texts
    assert not (left.has_data() or left.texts)
    figure.canvas.draw()  # warnings are errors


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_makes_its_own_axes_if_none_are_given(name):
    assert DRAWN[name](None) is not DRAWN[name](None)


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor([1.0, 2.0], requires_grad=True),
        torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
        torch.tensor([1, 2]),
        np.array([1.0, 2.0]),
        [1, 2],
        (1, 2),
    ],
)
def test_tensors_arrays_and_lists_are_all_taken(x):
    assert viz.to_numpy(x).tolist() == [1, 2]
    if not isinstance(x, tuple):  # which is (x, y) to curves
        assert viz.curves({"x": x}).lines[0].get_ydata().tolist() == [1, 2]


@pytest.mark.parametrize("diverging", [False, True])
def test_numbers_stand_out_from_their_cells(diverging):
    ax = viz.heat(torch.linspace(-1, 1, 64).view(8, 8), numbers=True, diverging=diverging)
    image = ax.images[0]
    for text in ax.texts:
        cell = image.cmap(image.norm(float(text.get_text())))[:3]
        assert contrast(cell, text.get_color()) > 4, text.get_text()


def test_the_colours_are_those_of_okabe_and_ito_and_differ_without_colour_too():
    published = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
    assert published == viz.PALETTE
    assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == viz.PALETTE
    lines = viz.curves({str(i): [i, i] for i in range(6)}).lines
    looks = {(line.get_color(), str(line.get_linestyle())) for line in lines}
    assert len(looks) == 6
    for one, other in itertools.combinations(lines[:4], 2):  # without colour, by their strokes
        assert one.get_linestyle() != other.get_linestyle()


def test_figures_have_an_opaque_light_ground():
    figure = viz.curves({"x": [1, 2]}).figure
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert figure.axes[0].get_facecolor() == (1, 1, 1, 1)


def test_more_lines_than_colours_are_all_drawn():
    ax = viz.curves({str(i): [i, i + 1] for i in range(20)})
    assert len(ax.lines) == 20
    assert len(viz.arrows({str(i): (i + 1, 1) for i in range(9)}).texts) == 18


# refuses


@pytest.mark.parametrize("shape", [(4,), (2, 3, 3), (1, 2, 3, 3)])
def test_more_than_one_attention_map_at_once_is_refused(shape):
    said = rf"the weights have shape \[{', '.join(map(str, shape))}\]: choose one \[T, S\] map"
    with pytest.raises(ValueError, match=said):
        viz.attention_map(torch.rand(shape))
