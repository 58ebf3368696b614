"""godb_fast: a learned query optimizer in front of a stock engine, with a native planning core."""

__version__ = "0.1.0"
