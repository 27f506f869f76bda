"""Viz: every figure of the book, each a function that draws on an Axes and returns it.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart; figures have
an opaque light ground, so that they stay legible on a dark page.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager

PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
LINE_STYLES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), "-"]
CHINESE_FONTS = ["Noto Sans CJK SC", "Noto Sans SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei",
           "PingFang SC", "Heiti SC", "Microsoft YaHei", "SimHei"]  # fmt: skip


def style() -> None:
    """Set matplotlib's defaults for the whole book."""
    plt.rcParams.update({
        "figure.figsize": (6.4, 3.6), "figure.dpi": 110, "figure.facecolor": "white",
        "figure.constrained_layout.use": True, "axes.prop_cycle": plt.cycler(color=PALETTE),
        "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.alpha": 0.25,
        "font.size": 11, "legend.frameon": False, "image.cmap": "viridis",
    })  # fmt: skip


style()


def to_numpy(x) -> np.ndarray:
    """A tensor on any device, a list or an array, as a numpy array."""
    return x.detach().float().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)


def _axes(ax, figsize=None):
    return ax if ax is not None else plt.subplots(figsize=figsize)[1]


def curves(lines, x=None, xlabel="", ylabel="", title="", log="", ax=None):
    """One line for each name: {name: [N] values} or {name: ([N] x, [N] y)}.

    Args:
        x: the shared x values; None counts 0, 1, 2, ….
        log: "x", "y" or "xy" for logarithmic axes.
    """
    ax = _axes(ax)
    for (name, y), linestyle in zip(lines.items(), LINE_STYLES * len(lines)):
        xs, ys = y if isinstance(y, tuple) else (x, y)
        ys = to_numpy(ys)
        xs = np.arange(len(ys)) if xs is None else to_numpy(xs)
        marker = "o" if len(ys) <= 12 else None
        ax.plot(xs, ys, linestyle=linestyle, marker=marker, markersize=4, label=name)
    if "x" in log:
        ax.set_xscale("log")
        if len(xs) <= 8:  # few points: name each of them instead of the powers of ten
            ax.set_xticks(xs, [f"{x:g}" for x in xs], minor=False)
            ax.set_xticks([], minor=True)
    if "y" in log:
        ax.set_yscale("log")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if len(lines) > 1:
        ax.legend()
    return ax


def intervals(lines, x, xlabel="", ylabel="", title="", ax=None):
    """One line for each name with an interval at each point: {name: [N] of (value, low, high)}."""
    ax = _axes(ax)
    for (name, points), linestyle in zip(lines.items(), LINE_STYLES * len(lines)):
        value, low, high = to_numpy(points).T
        ax.errorbar(x, value, [value - low, high - value], linestyle=linestyle, marker="o",
                    markersize=4, capsize=3, label=name)  # fmt: skip
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.set_xticks(x, [f"{i:g}" for i in x])
    if len(lines) > 1:
        ax.legend()
    return ax


def bars(values, ylabel="", title="", fmt="{:.2f}", ax=None):
    """One labelled bar for each name; values is {name: number} or {name: {series: number}}."""
    ax = _axes(ax)
    nested = {n: v if isinstance(v, dict) else {"": v} for n, v in values.items()}
    series = list(next(iter(nested.values())))
    width = 0.8 / len(series)
    for i, s in enumerate(series):
        at = np.arange(len(nested)) + (i - (len(series) - 1) / 2) * width
        drawn = ax.bar(at, [v[s] for v in nested.values()], width * 0.92, label=s)
        ax.bar_label(drawn, fmt=fmt, fontsize=9, padding=2)
    ax.set_xticks(np.arange(len(nested)), list(nested))
    ax.set(ylabel=ylabel, title=title)
    ax.grid(axis="x", visible=False)
    if len(series) > 1:
        ax.legend()
    return ax


def heat(
    matrix, rows=None, columns=None, xlabel="", ylabel="", title="", numbers=False, label="",
    diverging=False, ax=None,
):  # fmt: skip
    """A matrix [R, C] as colours, with optional tick labels, numbers in the cells and a scale.

    Args:
        label: name and unit of the colour scale; "" draws none.
        diverging: blue below zero, red above, white at zero.
    """
    m = to_numpy(matrix)
    ax = _axes(ax, (min(0.6 * m.shape[1] + 2.2, 6.4), min(0.5 * m.shape[0] + 1.6, 5.0)))
    top = np.nanmax(np.abs(m)) if m.size else 1
    limits = {"cmap": "RdBu_r", "vmin": -top, "vmax": top} if diverging else {}
    image = ax.imshow(m, aspect="auto", **limits)
    for axis in (ax.xaxis, ax.yaxis):
        axis.get_major_locator().set_params(integer=True)
    if rows is not None:
        ax.set_yticks(range(len(rows)), rows)
    if columns is not None:
        long = max(map(len, columns), default=0) > 3 and len(columns) > 6
        ax.set_xticks(range(len(columns)), columns, rotation=90 if long else 0)
    if numbers:
        for (r, c), value in np.ndenumerate(m):
            # white on dark cells, black on light ones, whichever contrasts more
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.41
            ax.text(c, r, f"{value:.2f}", ha="center", va="center", fontsize=9,
                    color="white" if dark else "black")  # fmt: skip
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    if label:
        ax.figure.colorbar(image, ax=ax, label=label)
    return ax


def attention_map(weights, queries=None, keys=None, title="", numbers=None, ax=None):
    """Attention weights [T, S]: a row for each query, a column for each key it looks at."""
    w = to_numpy(weights)
    if w.ndim != 2:
        raise ValueError(f"the weights have shape {list(w.shape)}: choose one [T, S] map of them")
    keys = queries if keys is None and w.shape[0] == w.shape[1] else keys
    numbers = w.size <= 64 if numbers is None else numbers
    ax = heat(w, queries, keys, "key (is looked at)", "query (looks)", title, numbers,
              "weight", ax=ax)  # fmt: skip
    ax.images[0].set_clim(0, max(float(w.max()), 1e-9))
    return ax


def histogram(samples, xlabel="", title="", bins=40, ax=None):
    """The distribution of each named set of samples, as densities: {name: [N]}."""
    ax = _axes(ax)
    values = {name: to_numpy(s).ravel() for name, s in samples.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), bins)
    for name, v in values.items():
        ax.hist(v, edges, density=True, alpha=0.55, label=name)
    ax.set(xlabel=xlabel, ylabel="density", title=title)
    if len(values) > 1:
        ax.legend()
    return ax


def arrows(vectors, title="", ax=None):
    """Named 2-D vectors {name: (x, y)} as arrows from the origin."""
    ax = _axes(ax, (4, 4))
    reach = 1.25 * max(np.abs(to_numpy(list(v))).max() for v in vectors.values())
    for (name, v), colour in zip(vectors.items(), PALETTE * len(vectors)):
        x, y = map(float, v)
        ax.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "lw": 2, "color": colour})
        ax.annotate(name, (x, y), textcoords="offset points", xytext=(6, 6), color=colour)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), title=title, aspect="equal")
    ax.set(xlabel="first coordinate", ylabel="second coordinate")
    return ax


def clouds(sets, centres=None, reach=None, xlabel="", title="", axes=None):
    """Sets of points {name: [N, 2]}, side by side, and a circle at each of `centres` [M, 2]."""
    if axes is None:
        size = (min(1.9 * len(sets), 9.5), 2.2)
        axes = plt.subplots(1, len(sets), figsize=size, sharex=True, sharey=True)[1]
    for ax, (name, points) in zip(np.atleast_1d(axes), sets.items()):
        if centres is not None:
            ax.scatter(*to_numpy(centres).T, s=70, facecolors="none", edgecolors=PALETTE[1])
        ax.scatter(*to_numpy(points).T, s=2, alpha=0.4)
        ax.set(title=name, xlabel=xlabel, aspect="equal", xticks=[], yticks=[])
        if reach:
            ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    np.atleast_1d(axes)[0].figure.suptitle(title or None)
    return axes


def flow(velocity, paths, reach=2.0, xlabel="", ylabel="", title="", ax=None):
    """A field of arrows, velocity([2, ...]) -> [2, ...], and named paths [N, 2] through it."""
    ax = _axes(ax, (3.7, 3.6))
    grid = np.stack(np.meshgrid(*[np.linspace(-reach, reach, 11)] * 2))
    ax.quiver(*grid, *to_numpy(velocity(grid)), color="0.7", width=0.005)
    for (name, path), linestyle in zip(paths.items(), LINE_STYLES):
        ax.plot(*to_numpy(path).T, linestyle=linestyle, label=name)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend(loc="upper left", fontsize=9)
    return ax


def images(rows, title="", ax=None):
    """Rows of images {name: [N, C, S, S]}, values 0..1 in 17 shades, with names at the left."""
    pad = [(0, 0), (0, 0), (1, 1), (1, 1)]
    strips = [np.pad(to_numpy(x), pad, constant_values=1) for x in rows.values()]
    n, _, side, _ = strips[0].shape
    page = np.vstack([np.hstack(x.transpose(0, 2, 3, 1)) for x in strips]).squeeze()
    ax = _axes(ax, (5.0, 0.2 + 4.4 * len(strips) / n))
    ax.imshow((16 * page).round() / 16, cmap="gray", clim=(0, 1), interpolation="nearest")
    ax.set(xticks=[], title=title)
    ax.set_yticks([side * (i + 0.5) for i in range(len(rows))], list(rows), fontsize=9)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return ax


def token_strip(tokens, title="", width=72, ax=None):
    """Tokens as a row of coloured boxes, wrapped; a space is drawn as ␣.

    Chinese needs one of the fonts in `CHINESE_FONTS`; where none is installed it is drawn as □.
    """
    chinese = sorted(
        set(CHINESE_FONTS) & set(font_manager.get_font_names()), key=CHINESE_FONTS.index
    )
    ax = _axes(ax, (6.4, 0.5 + 0.42 * (1 + sum(max(len(t), 1) + 1 for t in tokens) // width)))
    x, y = 0.0, 0.0
    for i, token in enumerate(tokens):
        shown = token.replace(" ", "␣").replace("\n", "↵")
        # a Chinese character is about two Latin ones wide
        wide = sum(2 if ord(ch) > 0x2E80 else 1 for ch in shown) + 1
        if x and x + wide > width:
            x, y = 0.0, y - 1
        ax.add_patch(plt.Rectangle((x, y - 0.4), wide - 0.2, 0.8, color=PALETTE[i % 6], alpha=0.3))
        if not chinese:
            shown = "".join("□" if ord(ch) > 0x2E80 else ch for ch in shown)
        ax.text(x + wide / 2 - 0.1, y, shown, ha="center", va="center", fontsize=10,
                family=["DejaVu Sans Mono", *chinese[:1]])  # fmt: skip
        x += wide
    ax.set(xlim=(-0.5, width + 0.5), ylim=(y - 0.7, 0.7), title=title)
    ax.axis("off")
    return ax
