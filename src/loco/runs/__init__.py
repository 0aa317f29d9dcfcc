"""Whole runs from a configuration: train, evaluate, predict, and the folders that they leave.

Also what reads such a folder again: checkpoints, logs, results, two runs compared. Nothing is drawn
here: reports and figures are callbacks of the configuration, from `loco.reporting`.
"""
