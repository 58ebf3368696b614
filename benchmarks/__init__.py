"""One runnable module per question; each prints a table, writes JSON on request and exits with 1 when a
floor does not hold. Speed is compared as ratios within one run, with interleaved arms and rotated inputs.
"""
