"""VSGN (arXiv 2011.14598): boxes from a pyramid of graphs, two stages, and short videos magnified.

`stitching` lays videos into rows of a fixed length, short ones beside a magnified copy; `graph` and
`pyramid` are the net's trunk, `heads` what it says; `anchors` are the boxes it starts from and
their assignment to events; `losses` and `decoding` train and read it, `detector` puts it together.
"""
