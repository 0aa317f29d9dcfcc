"""What people look at: figures, the report of a run, W&B's pictures and workspace.

It reads the results of runs and changes none. Pages about many runs stand
in `loco.sweeps`.
"""
