"""Figures: each function takes plain values and returns a matplotlib `Figure`.

Nothing here touches pyplot or any global setting, so that figures can be made in a notebook, in a
logger and in the run report alike. Functions of one panel also draw on the `axes` they are given.
"""

from loco.reporting.figures.dataset import plot_data
from loco.reporting.figures.localization import plot_timeline
from loco.reporting.figures.precision_recall import plot_precision_recall
from loco.reporting.figures.results import (
    plot_characteristics,
    plot_differences,
    plot_errors,
    plot_importances,
    plot_map,
    plot_per_class,
)
from loco.reporting.figures.similarity import plot_coherence, plot_mean_of_std, plot_similarity
from loco.reporting.figures.style import save_figure
from loco.reporting.figures.training import (
    plot_correspondence,
    plot_curve,
    plot_learning_rate,
    plot_losses,
    plot_validation,
)
from loco.reporting.figures.windows import plot_windows

__all__ = [
    "plot_characteristics",
    "plot_coherence",
    "plot_correspondence",
    "plot_curve",
    "plot_data",
    "plot_differences",
    "plot_errors",
    "plot_importances",
    "plot_learning_rate",
    "plot_losses",
    "plot_map",
    "plot_mean_of_std",
    "plot_per_class",
    "plot_precision_recall",
    "plot_similarity",
    "plot_timeline",
    "plot_validation",
    "plot_windows",
    "save_figure",
]
