"""A table: what it takes and which columns it has, as its file says (`schemas.table_file`).

Everything else about the table is derived from this: the BigQuery schema, the write descriptor
(`schemas.encode`), the views (`schemas.views`), the shape of a row (`schemas.layouts`).
"""

from dataclasses import dataclass
from enum import StrEnum


class Type(StrEnum):
    """The column types that a table file can declare, by BigQuery's names.

    What a value is in a row: STRING `str`, INT64 `int`, FLOAT64 `float`, BOOL `bool`, BYTES
    `bytes`, TIMESTAMP `int` microseconds since the Unix epoch, JSON `str` of JSON text.
    """

    STRING = "STRING"
    INT64 = "INT64"
    FLOAT64 = "FLOAT64"
    BOOL = "BOOL"
    BYTES = "BYTES"
    TIMESTAMP = "TIMESTAMP"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: NULLABLE, or REPEATED (which is [] rather than null).

    Args:
        name: BigQuery's name.
        type: What it holds.
        repeated: Whether it is REPEATED.
        description: For readers of the table.
        path: Where a declared column finds its value in the document, by segments; () for the
            others.
        parameter: The parameter of a path pattern whose value it takes; '' for the others.
    """

    name: str
    type: Type
    repeated: bool = False
    description: str = ""
    path: tuple[str, ...] = ()
    parameter: str = ""


RAW = Column(
    "raw",
    Type.BYTES,
    description="The whole message, a serialized google.pubsub.v1.PubsubMessage.",
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as its file declares it.

    Args:
        name: BigQuery's name of the table inside the dataset.
        layout: How an event becomes columns: a name of `schemas.layouts`.
        columns: All of them, in the table's order.
        declared: What the file declares by path: columns of the table in the structured layout,
            of its typed view in the changelog layout.
        collections: Whose documents it takes: ids of collections and path patterns
            (`schemas.routing`).
        default: Whether it takes what no table's collections match, manual issues among it.
        dropped: Paths of fields that are kept nowhere in the table.
        raw: Whether a BYTES column keeps the whole message.
        partition: The TIMESTAMP column by which it is partitioned; '' for none.
        partition_by: The size of a partition: DAY, MONTH or YEAR.
        clustering: Columns by which it is clustered, at most four.
        view_prefix: What its views' names begin with; '' for no views.
        description: For readers of the table.
    """

    name: str
    layout: str
    columns: tuple[Column, ...]
    declared: tuple[Column, ...] = ()
    collections: tuple[str, ...] = ()
    default: bool = False
    dropped: tuple[tuple[str, ...], ...] = ()
    raw: bool = False
    partition: str = ""
    partition_by: str = "DAY"
    clustering: tuple[str, ...] = ()
    view_prefix: str = ""
    description: str = ""
