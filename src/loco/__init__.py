"""LoCo: dense audio-visual event localization (DAVE) as an experiment suite."""

__version__ = "0.1.0"
