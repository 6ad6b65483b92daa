"""One module per verb. Each takes its source, target, options and a monitor, and returns its
stats.
"""
