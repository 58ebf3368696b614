"""Keys of TPC-H and TPC-DS: primary keys, foreign keys, and the indexes that usually go with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ForeignKey:
    """Columns of a table that name a row of another."""

    table: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(frozen=True)
class Keys:
    """Primary keys by table, foreign keys, and columns to index beside them."""

    primary: dict[str, tuple[str, ...]]
    foreign: tuple[ForeignKey, ...]
    #: Whether each foreign key of one column gets an index.
    indexes: bool


_TPCH = Keys(
    {
        "region": ("r_regionkey",),
        "nation": ("n_nationkey",),
        "supplier": ("s_suppkey",),
        "customer": ("c_custkey",),
        "part": ("p_partkey",),
        "partsupp": ("ps_partkey", "ps_suppkey"),
        "orders": ("o_orderkey",),
        "lineitem": ("l_orderkey", "l_linenumber"),
    },
    (
        ForeignKey("nation", ("n_regionkey",), "region", ("r_regionkey",)),
        ForeignKey("supplier", ("s_nationkey",), "nation", ("n_nationkey",)),
        ForeignKey("customer", ("c_nationkey",), "nation", ("n_nationkey",)),
        ForeignKey("partsupp", ("ps_partkey",), "part", ("p_partkey",)),
        ForeignKey("partsupp", ("ps_suppkey",), "supplier", ("s_suppkey",)),
        ForeignKey("orders", ("o_custkey",), "customer", ("c_custkey",)),
        ForeignKey("lineitem", ("l_orderkey",), "orders", ("o_orderkey",)),
        ForeignKey("lineitem", ("l_partkey", "l_suppkey"), "partsupp", ("ps_partkey", "ps_suppkey")),
    ),
    indexes=True,
)

_TPCDS_PRIMARY = {
    "call_center": ("cc_call_center_sk",),
    "catalog_page": ("cp_catalog_page_sk",),
    "customer": ("c_customer_sk",),
    "customer_address": ("ca_address_sk",),
    "customer_demographics": ("cd_demo_sk",),
    "date_dim": ("d_date_sk",),
    "household_demographics": ("hd_demo_sk",),
    "income_band": ("ib_income_band_sk",),
    "item": ("i_item_sk",),
    "promotion": ("p_promo_sk",),
    "reason": ("r_reason_sk",),
    "ship_mode": ("sm_ship_mode_sk",),
    "store": ("s_store_sk",),
    "time_dim": ("t_time_sk",),
    "warehouse": ("w_warehouse_sk",),
    "web_page": ("wp_web_page_sk",),
    "web_site": ("web_site_sk",),
    "store_sales": ("ss_item_sk", "ss_ticket_number"),
    "store_returns": ("sr_item_sk", "sr_ticket_number"),
    "catalog_sales": ("cs_item_sk", "cs_order_number"),
    "catalog_returns": ("cr_item_sk", "cr_order_number"),
    "web_sales": ("ws_item_sk", "ws_order_number"),
    "web_returns": ("wr_item_sk", "wr_order_number"),
    "inventory": ("inv_date_sk", "inv_item_sk", "inv_warehouse_sk"),
}
#: Which dimension a column refers to, by the end of its name.
_TPCDS_ENDS = {
    "date_sk": "date_dim", "time_sk": "time_dim", "item_sk": "item", "customer_sk": "customer",
    "cdemo_sk": "customer_demographics", "hdemo_sk": "household_demographics", "addr_sk": "customer_address",
    "store_sk": "store", "call_center_sk": "call_center", "catalog_page_sk": "catalog_page",
    "ship_mode_sk": "ship_mode", "warehouse_sk": "warehouse", "promo_sk": "promotion", "reason_sk": "reason",
    "web_site_sk": "web_site", "web_page_sk": "web_page", "income_band_sk": "income_band",
}  # fmt: skip
_TPCDS_RETURNS = (
    ForeignKey(
        "store_returns", ("sr_item_sk", "sr_ticket_number"), "store_sales", _TPCDS_PRIMARY["store_sales"]
    ),
    ForeignKey(
        "catalog_returns", ("cr_item_sk", "cr_order_number"), "catalog_sales", _TPCDS_PRIMARY["catalog_sales"]
    ),
    ForeignKey("web_returns", ("wr_item_sk", "wr_order_number"), "web_sales", _TPCDS_PRIMARY["web_sales"]),
)


def keys_of(workload: str, columns: Iterable[tuple[str, str]]) -> Keys:
    """Keys of ``tpch`` or ``tpcds``, whose (table, column) pairs are given."""
    if workload == "tpch":
        return _TPCH
    foreign = []
    for table, column in columns:
        end = next((end for end in _TPCDS_ENDS if column.endswith(f"_{end}")), None)
        if end is not None and _TPCDS_PRIMARY[table] != (column,):
            target = _TPCDS_ENDS[end]
            foreign.append(ForeignKey(table, (column,), target, _TPCDS_PRIMARY[target]))
    # With an index per foreign key TPC-DS would have more of indexes than of data.
    return Keys(_TPCDS_PRIMARY, (*foreign, *_TPCDS_RETURNS), indexes=False)
