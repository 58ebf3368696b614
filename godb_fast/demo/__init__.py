"""The built-in demo: a skewed and correlated question-and-answer community, and queries on it.

Generator, seed and query templates were frozen before any plan of ours was first compared with the
engine's own on them, and are not tuned to the outcome of such comparisons. So is ``site``, the small site of
the short demo, which is built twice; ``showing`` explores and measures it.
"""

from godb_fast.demo.community import SEED, generate
from godb_fast.demo.database import TABLES, build
from godb_fast.demo.queries import TEMPLATES, DemoQuery, QueryTemplate, stream

__all__ = ["SEED", "TABLES", "TEMPLATES", "DemoQuery", "QueryTemplate", "build", "generate", "stream"]
