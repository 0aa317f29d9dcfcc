"""The words of a command: composed, checked, explained and quoted.

None of it loads torch at once, so that help and mistakes take no time.
"""
