"""What a training needs around a detector: Lightning's module, the optimiser, callbacks.

The module knows nothing of a detector but `losses` and `detect`. Which parts a run is made of, and
what it leaves on disk, is decided in `loco.runs`.
"""
