"""A method of exploration of one's own: try a random plan of the query that takes longest now.

``python -m benchmarks.replay --method examples.own_method:LongestFirst`` lets it compete on stored runtimes,
``python -m benchmarks.steering --method examples.own_method:LongestFirst`` on a live engine.
"""

import numpy as np


class LongestFirst:
    """The protocol is in ``benchmarks/methods.py``: suggest a run, observe what became of it, choose."""

    def __init__(self):
        self.state = None

    def suggest(self, state):
        """Query, arm, and seconds after which to cut the run."""
        self.state, best = state, np.nanmin(state.seconds, axis=1)
        for query in np.argsort(-best * state.weight):
            unknown = np.isnan(state.seconds[query]) & (state.cut_s[query] < best[query])
            if unknown.any():
                arm = np.random.default_rng(int(state.spent_s * 1e6)).choice(np.nonzero(unknown)[0])
                return query, arm, best[query]
        return None

    def observe(self, query, arm, seconds, finished):
        """The state has it already."""

    def choose(self, query):
        """The arm that was seen to be fastest."""
        return 0 if self.state is None else int(np.nanargmin(self.state.seconds[query]))
