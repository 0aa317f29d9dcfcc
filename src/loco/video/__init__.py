"""Raw video → feature files: reading, windows, encoders, extraction.

Here live the clock of a film and what looks at its pictures and hears its sound; what is then read
from the files is the business of `data`. PyAV, an extra, is imported when a film is first opened.
"""
