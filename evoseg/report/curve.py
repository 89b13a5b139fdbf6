"""The best score so far against the work done."""

from collections.abc import Sequence
from pathlib import Path

from evoseg.base.writing import whole_file


def curve(history: Sequence[Sequence[float]], path: Path | str, *, metric: str = "IoU") -> None:
    """Write the best-so-far curve as a PNG.

    Parameters
    ----------
    history : sequence of (evaluations, seconds, best score on the search images)
        One entry per improvement, oldest first; may be empty.
    path : path of the PNG
        Written as a whole or not at all; its folder is made if need be.
    metric : str
        Name of the score, for the axis.
    """
    # The canvas without pyplot: no global state, no window, usable from any thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if history:
        evaluations = [entry[0] for entry in history]
        scores = [entry[2] for entry in history]
        axes.step(evaluations, scores, where="post", color="#0072B2", linewidth=1.8)
        axes.plot(evaluations[-1:], scores[-1:], "o", color="#0072B2", markersize=4)
        axes.annotate(
            f"{scores[-1]:.3f}", (evaluations[-1], scores[-1]), (0, 6), textcoords="offset points", ha="right"
        )
    axes.set(xlabel="evaluations", ylabel=f"best {metric} on the search images", ylim=(0, 1.05))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        figure.savefig(file, format="png")
