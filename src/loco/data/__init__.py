"""From annotation and feature files to batches.

Annotations, layouts of feature files, crops, loaders, advice on a data set. Features are read here
and never made from videos; `loco.data.synthetic` makes a data set of its own.
"""
