"""Many runs: the jobs of a sweep, and tables, pages and notebooks about them.

How one run is done stands in `loco.runs`; which runs a study has stands in `conf/experiment`.
"""
