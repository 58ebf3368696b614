"""Safe rewrites: other statements with provably the same answer.

A rule has a written precondition, a proof sketch in its module's docstring, and a test that tries to break it
on generated data. What cannot be proven from schema and query is left alone. Rules only offer candidates:
whether one is faster is for the explorer to measure.
"""
