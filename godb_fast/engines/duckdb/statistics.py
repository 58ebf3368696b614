from typing import Any


class DuckDBStatistics:
    def __init__(self, connection: Any, schema: Any, old: Any) -> None:
        self.schema = schema
