"""What BigQuery asks of names, texts and sizes: refused here, before the service does.

The stand-in takes most of what breaks these rules, so that nothing else would.
"""

import re

from schemas.shaping import PARTITION_DAYS_AHEAD, PARTITION_DAYS_BACK
from schemas.table import Column, Type

# https://cloud.google.com/bigquery/docs/schemas#column_names; flexible names would need quotes
# in every query and another name in the write descriptor.
_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}", re.ASCII)
_RESERVED_PREFIXES = (
    "_table_",
    "_file_",
    "_partition",
    "_row_timestamp",
    "__root__",
    "_colidentifier",
    # Storage Write takes such a field for an order to change rows:
    # https://cloud.google.com/bigquery/docs/change-data-capture
    "_change_sequence_number",
    "_change_type",
    "_change_timestamp",
)
# https://cloud.google.com/bigquery/docs/tables#table_naming, less what needs quotes
TABLE_NAME = re.compile(r"[A-Za-z0-9_]{1,1024}", re.ASCII)

# https://cloud.google.com/bigquery/quotas#standard_tables, and of all tables
MAX_COLUMNS = 10_000
MAX_COLUMN_DESCRIPTION = 1_024
MAX_TABLE_DESCRIPTION = 16_384
MAX_PARTITIONS = 10_000
# https://cloud.google.com/bigquery/quotas#routine_limits, table functions among them; letters,
# digits and _ as in TABLE_NAME: https://cloud.google.com/bigquery/docs/reference/rest/v2/routines
MAX_FUNCTION_NAME = 256
# https://cloud.google.com/bigquery/docs/clustered-tables#limitations
MAX_CLUSTERING = 4

_PARTITION_HOURS = {"HOUR": 1, "DAY": 24, "MONTH": 28 * 24, "YEAR": 365 * 24}
PARTITIONINGS = tuple(_PARTITION_HOURS)
"""https://cloud.google.com/bigquery/docs/partitioned-tables#date_timestamp_partitioned_tables"""


def column_name_faults(name: str) -> list[tuple[str, str]]:
    """What is wrong with a column's name, each with what to do about it; empty for a good one."""
    found = []
    if not _COLUMN_NAME.fullmatch(name):
        remedy = "give it a `name` of letters, digits and _, 300 at most"
        found.append((f"{name!r} is no column name", remedy))
    if name.lower().startswith(_RESERVED_PREFIXES):
        found.append((f"BigQuery reserves the prefix of {name!r}", "give it another `name`"))
    return found


def description_fault(text: str, most: int) -> str:
    """What is wrong with a description of at most so many characters; '' for a good one."""
    return f"{len(text)} characters, BigQuery takes {most:,}" if len(text) > most else ""


def clusters(column: Column) -> bool:
    """Whether BigQuery can cluster a table by the column."""
    return not column.repeated and column.type not in (Type.FLOAT64, Type.BYTES, Type.JSON)


def partitions_needed(by: str) -> int:
    """How many partitions all the rows fill that the job may write, at the most."""
    hours = (PARTITION_DAYS_BACK + PARTITION_DAYS_AHEAD) * 24
    return -(-hours // _PARTITION_HOURS[by])
