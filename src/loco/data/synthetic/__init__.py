"""The embedded benchmark: a data set made from a seed, in UnAV-100's own file layout.

`events` draws what happens in a video, `rendering` how that looks and sounds, `generator` writes
the files. What reads them reads real ones in the same way, and knows nothing of this folder.
"""
