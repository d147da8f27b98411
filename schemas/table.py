"""A table: what it takes and which columns it has, as its file says (`schemas.table_file`).

Everything else about the table is derived from this: the BigQuery schema, the write descriptor
(`schemas.encode`), the views (`schemas.views`), the shape of a row.
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
            fixed columns of a layout.
    """

    name: str
    type: Type
    repeated: bool = False
    description: str = ""
    path: tuple[str, ...] = ()


STRUCTURED = (
    Column("event_id", Type.STRING, description="Who the event is; a repeat carries the same."),
    Column(
        "issue_id", Type.STRING, description="For people: FS- or INC- and 8 digits, not unique."
    ),
    Column("issue_key", Type.STRING, description="The document's full name, or a manual event_id."),
    Column("source", Type.STRING, description="manual-api or firestore-eventarc."),
    Column("created_at", Type.TIMESTAMP, description="When it happened, by the event."),
    Column("update_time", Type.TIMESTAMP, description="The document's own; orders its events."),
    Column("event_type", Type.STRING, description="The CloudEvent's type."),
    Column("operation", Type.STRING, description="CREATE, UPDATE, DELETE or MANUAL."),
    Column("document_name", Type.STRING, description="The document's full name."),
    Column("document_path", Type.STRING, description="Its path inside the database."),
    Column("document_id", Type.STRING, description="Its last segment."),
    Column("collection", Type.STRING, description="The innermost collection's id."),
    Column(
        "changed_fields",
        Type.STRING,
        repeated=True,
        description="Leaf paths that an UPDATE changed, in Firestore's quoting.",
    ),
)
STRUCTURED_END = (
    Column(
        "type_errors",
        Type.STRING,
        repeated=True,
        description="Fields that did not fit their column, or numbers kept as text in payload.",
    ),
    Column("payload", Type.JSON, description="The document's fields, or the manual body, whole."),
    Column("old_payload", Type.JSON, description="The document's fields before the event."),
    Column("auth_type", Type.STRING, description="Who changed it: kind of principal."),
    Column("auth_id", Type.STRING, description="Who changed it."),
    Column("publish_time", Type.TIMESTAMP, description="When Pub/Sub took the message."),
    Column("ingest_time", Type.TIMESTAMP, description="When the job shaped the row."),
)
FLAT = (
    Column("issue_id", Type.STRING, description="For people; a document has one, not unique."),
    Column("source", Type.STRING, description="manual-api or firestore-eventarc."),
    Column(
        "created_at", Type.STRING, description="RFC 3339 in UTC with six decimals; sorts as text."
    ),
    Column("payload", Type.STRING, description="The fields as JSON text."),
)
LAYOUTS = ("structured", "flat")
VIEW_KINDS = ("latest", "changes", "daily")


@dataclass(frozen=True, slots=True)
class Table:
    """A table as its file declares it.

    Args:
        name: BigQuery's name of the table inside the dataset.
        layout: How an event becomes columns: `structured` or `flat`.
        columns: All of them, in the table's order.
        collections: Ids of the (innermost) collections whose documents it takes.
        default: Whether it takes what no table's collections match, manual issues among it.
        partition: The TIMESTAMP column by whose day it is partitioned; '' for none.
        clustering: Columns by which it is clustered, at most four.
        view_prefix: What its views' names begin with; '' for no views.
        description: For readers of the table.
    """

    name: str
    layout: str
    columns: tuple[Column, ...]
    collections: tuple[str, ...] = ()
    default: bool = False
    partition: str = ""
    clustering: tuple[str, ...] = ()
    view_prefix: str = ""
    description: str = ""

    @property
    def declared(self) -> tuple[Column, ...]:
        """The columns that the file declares by path."""
        return tuple(column for column in self.columns if column.path)


def view_names(table: Table) -> dict[str, str]:
    """The name of each view of a table, and its kind; empty without a `view_prefix`."""
    if not table.view_prefix:
        return {}
    return {f"{table.view_prefix}_{kind}": kind for kind in VIEW_KINDS}
