"""What a database spends its time on: one module a source, one row a template.

Every source (PostgreSQL's ``pg_stat_statements`` and logs, DuckDB's query log, our own store, SQL files, a
dbt project) gives a :class:`Workload` of :class:`QueryUsage`, grouped by our own fingerprint. Statements that
are found are read, never executed; examples of them are kept only where they begin as queries do.
"""

from godb_fast.workload.usage import PROVENANCES, QueryUsage, RankedQuery, Workload, rank

__all__ = ["PROVENANCES", "QueryUsage", "RankedQuery", "Workload", "rank"]
