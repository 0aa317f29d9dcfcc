"""Figures: each function takes plain values and returns a matplotlib `Figure`.

Nothing here touches pyplot or any global setting, so that figures can be made in a notebook, in a
logger and in the run report alike. Functions of one panel also draw on the `axes` they are given.
"""

from loco.visualize.dataset import plot_data
from loco.visualize.localization import plot_timeline
from loco.visualize.results import (
    plot_characteristics,
    plot_errors,
    plot_map,
    plot_per_class,
)
from loco.visualize.similarity import plot_coherence, plot_mean_of_std, plot_similarity
from loco.visualize.style import save_figure
from loco.visualize.training import (
    plot_correspondence,
    plot_curve,
    plot_losses,
    plot_validation,
)
from loco.visualize.windows import plot_windows

__all__ = [
    "plot_characteristics",
    "plot_coherence",
    "plot_correspondence",
    "plot_curve",
    "plot_data",
    "plot_errors",
    "plot_losses",
    "plot_map",
    "plot_mean_of_std",
    "plot_per_class",
    "plot_similarity",
    "plot_timeline",
    "plot_validation",
    "plot_windows",
    "save_figure",
]
