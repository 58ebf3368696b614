"""PostgreSQL's functions: which of them are safe to call twice, and give the same under every plan.

``pg_proc`` says whether a function is immutable, stable or volatile, but not whether it is harmless:
``txid_current()`` is stable and takes a transaction id, ``query_to_xml()`` runs any statement. So volatile
functions never pass, immutable ones of the server itself always do (none of them acts on anything), and of
the stable ones those that are listed here.

Functions of users never pass, whatever they are declared to be: a function that is marked immutable may call
``nextval``. Those of the listed extensions are taken as declared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from godb_fast.engines.postgres.catalogue import FIRST_USER_OID
from godb_fast.sql.scopes import words

#: Stable functions of the server whose value rests on their arguments, the transaction's time, the session's
#: identity and settings that a steering never touches.
STABLE: Final = words(
    """
    age array_to_json array_to_string concat concat_ws convert convert_from convert_to current_database
    current_schema current_schemas current_user date date_add date_part date_subtract date_trunc enum_first
    enum_last enum_range extract format format_type generate_series get_current_ts_config
    getdatabaseencoding getpgusername inet_client_addr inet_client_port inet_server_addr inet_server_port
    json_agg json_agg_strict json_build_array json_build_object json_object_agg json_object_agg_strict
    json_object_agg_unique json_object_agg_unique_strict json_populate_record json_populate_recordset
    json_to_record json_to_recordset json_to_tsvector jsonb_agg jsonb_agg_strict jsonb_build_array
    jsonb_build_object jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique
    jsonb_object_agg_unique_strict jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_array_tz
    jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_record_valid
    jsonb_populate_recordset jsonb_to_record jsonb_to_recordset jsonb_to_tsvector length make_timestamptz
    money now numeric overlaps pg_backend_pid pg_client_encoding pg_typeof phraseto_tsquery plainto_tsquery
    quote_literal quote_nullable row_to_json session_user statement_timestamp system_user time timestamp
    timestamptz timetz timezone to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery
    to_tsvector transaction_timestamp ts_debug ts_headline ts_match_tq ts_match_tt ts_parse ts_token_type
    version websearch_to_tsquery xml xml_is_well_formed
    """
)
#: Stable functions on the server's or the session's state: they only read, but what they say may be another
#: thing when they are called again, or in a steered run (whose settings differ).
STATE: Final = re.compile(
    r"col_description|current_setting|has_\w+_privilege|mxid_age|obj_description|shobj_description"
    r"|pg_(?:column_\w+|conf_load_time|config|current_snapshot|current_xact_id_if_assigned|describe_object)"
    r"|pg_(?:filenode_relation|get_(?!publication_tables|replication_slots|object_address)\w+|has_role)"
    r"|pg_(?:identify_object\w*|index\w+|input_\w+|is_other_temp_schema|my_temp_schema|options_to_table)"
    r"|pg_(?:postmaster_start_time|relation_\w+|sequence_parameters|settings_get_flags|show_all_settings)"
    r"|pg_(?:stat_get_\w+|tablespace_\w+|timezone_\w+|trigger_depth|\w+_is_visible)"
    r"|row_security_active|to_reg\w+|txid_current_if_assigned|txid_current_snapshot"
)
#: Aggregates whose value depends on the order in which rows arrive, those with an ORDER BY (ties!) included.
ORDER_DEPENDENT: Final = words(
    """
    any_value array_agg json_agg json_agg_strict json_arrayagg json_object_agg json_object_agg_strict
    json_object_agg_unique json_object_agg_unique_strict json_objectagg jsonb_agg jsonb_agg_strict
    jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict
    string_agg xmlagg
    """
)
#: Window functions that number or pick among rows that their ORDER BY holds equal.
ROW_FUNCTIONS: Final = words("row_number ntile lag lead first_value last_value nth_value")
#: What looks like a function of a name that pg_proc does not hold, and is the server's own syntax.
SYNTAX: Final = words(
    """
    coalesce greatest grouping json json_array json_arrayagg json_exists json_object json_objectagg
    json_query json_scalar json_serialize json_table json_value least merge_action normalize nullif row treat
    xmlconcat xmlelement xmlexists xmlforest xmlparse xmlpi xmlroot xmlserialize xmltable
    """
)
#: Extensions whose functions that are not volatile only compute.
EXTENSIONS: Final = (
    "btree_gin", "btree_gist", "citext", "cube", "earthdistance", "fuzzystrmatch", "hstore", "intarray",
    "ltree", "pg_trgm", "pgcrypto", "postgis", "seg", "unaccent", "vector",
)  # fmt: skip

#: The extension of a function ``p``, if it is a listed one (bound as a parameter).
_TRUSTED: Final = """
(SELECT e.extname::text FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
  WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass::oid AND d.objid = p.oid AND d.deptype = 'e'
    AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass::oid
    AND e.extname::text = ANY (%s::text[]))"""
#: All overloads of some names. The last column: a row type may be its only argument, as in ``t.name``.
FUNCTIONS_SQL: Final = f"""
SELECT p.proname::text, n.nspname::text, p.oid::int8, p.provolatile::text, {_TRUSTED},
       p.pronargs >= 1 AND EXISTS (SELECT FROM pg_catalog.pg_type t
                                    WHERE t.oid = p.proargtypes[0] AND t.typtype IN ('c', 'd', 'p'))
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE p.proname = ANY (%s::text[]::name[])
"""
#: What of users' making runs functions without being called by name: operators, support of operator classes,
#: casts, input and output of types, and checks of domains. The last column: users' types that have to be
#: there for it.
USERS_SQL: Final = f"""
SELECT 'operator', o.oprname::text, p.proname::text,
       ARRAY(SELECT t.typname::text FROM pg_catalog.pg_type t
              WHERE t.oid IN (o.oprleft, o.oprright) AND t.oid >= 16384)
  FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
 WHERE o.oid >= 16384 AND (p.provolatile = 'v' OR p.oid >= 16384 AND {_TRUSTED} IS NULL)
UNION ALL
SELECT 'class', p.proname::text, p.proname::text,
       ARRAY(SELECT t.typname::text FROM pg_catalog.pg_type t
              WHERE t.oid IN (a.amproclefttype, a.amprocrighttype) AND t.oid >= 16384)
  FROM pg_catalog.pg_amproc a JOIN pg_catalog.pg_proc p ON p.oid = a.amproc::oid
 WHERE p.oid >= 16384 AND {_TRUSTED} IS NULL
UNION ALL
SELECT 'cast ' || k.castcontext::text, t.typname::text, p.proname::text, '{{}}'::text[]
  FROM pg_catalog.pg_cast k JOIN pg_catalog.pg_proc p ON p.oid = k.castfunc
       JOIN pg_catalog.pg_type t ON t.oid = k.casttarget
 WHERE k.oid >= 16384 AND (p.provolatile = 'v' OR p.oid >= 16384 AND {_TRUSTED} IS NULL)
UNION ALL
SELECT 'type', t.typname::text, p.proname::text, ARRAY[t.typname::text]
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_proc p ON p.oid IN (t.typinput::oid, t.typoutput::oid)
 WHERE t.oid >= 16384 AND t.typtype = 'b' AND t.typelem = 0
   AND (p.provolatile = 'v' OR p.oid >= 16384 AND {_TRUSTED} IS NULL)
UNION ALL
SELECT 'type', t.typname::text, p.proname::text, ARRAY[t.typname::text]
  FROM pg_catalog.pg_range r JOIN pg_catalog.pg_type t ON t.oid = r.rngtypid
       JOIN pg_catalog.pg_proc p ON p.oid = r.rngcanonical::oid
 WHERE t.oid >= 16384 AND p.oid >= 16384 AND {_TRUSTED} IS NULL
UNION ALL
SELECT 'domain', t.typname::text, pg_catalog.pg_get_expr(c.conbin, 0::oid), '{{}}'::text[]
  FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_type t ON t.oid = c.contypid
 WHERE c.contypid <> 0::oid AND c.contype = 'c' AND t.oid >= 16384
"""
#: How often EXTENSIONS is bound in USERS_SQL.
USERS_PARAMETERS: Final = USERS_SQL.count("%s")


@dataclass(frozen=True)
class Function:
    """One overload."""

    name: str
    schema: str
    oid: int
    volatility: str
    extension: str | None
    takes_row: bool

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Function:
        """From a row of :data:`FUNCTIONS_SQL`."""
        name, schema, oid, volatility, extension, takes_row = row
        return cls(name, schema, int(oid), volatility, extension, bool(takes_row))

    @property
    def own(self) -> bool:
        """Whether it is the server's own."""
        return self.oid < FIRST_USER_OID

    def why_impure(self) -> str | None:
        """Why it may not be called twice; None if it may."""
        if self.volatility == "v":
            return f"{self.name}() is volatile"
        if not self.own:
            return None if self.extension is not None else f"{self.name}() is a user's own function"
        if self.volatility == "i" or self.name in STABLE or STATE.fullmatch(self.name):
            return None
        return f"{self.name}() is not known to only read"
