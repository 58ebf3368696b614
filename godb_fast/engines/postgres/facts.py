"""What a person wants to know of a server before anything is run on it: ``godb-fast info URL``."""

from __future__ import annotations

from typing import Any, Final

from godb_fast.engines.postgres.connection import Ask
from godb_fast.engines.postgres.settings import KNOBS, SteeringSettings

_ABOUT: Final = """
SELECT current_user, pg_catalog.current_setting('is_superuser') = 'on', pg_catalog.pg_is_in_recovery(),
  pg_catalog.current_setting('server_encoding'),
  EXISTS (SELECT 1 FROM pg_catalog.pg_extension e WHERE e.extname = 'pg_stat_statements')
"""
#: From 14 on a table that was never vacuumed nor analysed says so.
_TABLES: Final = """
SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE c.reltuples < 0)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
   AND n.nspname <> 'information_schema' AND pg_catalog.substr(n.nspname::text, 1, 3) <> 'pg_'
"""


def facts(ask: Ask, settings: SteeringSettings, *, hints: bool, pooled: bool) -> dict[str, Any]:
    """Role, server, tables, and what this role may be steered by.

    Parameters
    ----------
    hints : bool
        pg_hint_plan is loaded.
    pooled : bool
        The connection goes through a pool.
    """
    role, superuser, standby, encoding, statements = ask(_ABOUT, ())[0]
    tables, never = ask(_TABLES, ())[0]
    return {
        "role": role,
        "superuser": superuser,
        "standby": standby,
        "pooled": pooled,
        "encoding": encoding,
        "tables": int(tables),
        "never_analyzed": int(never),
        "settings": sorted(settings.allowed),
        "settings_denied": sorted(set(KNOBS) - set(settings.allowed)),
        "work_mem_most_kb": settings.work_mem_most_kb,
        "pg_hint_plan": hints,
        "pg_stat_statements": statements,
    }
