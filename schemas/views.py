"""The views of a table: SQL derived from its file, each dropping repeats of `event_id`."""

from importlib import resources

from schemas.layouts import layout_of
from schemas.table import Table


def view_names(table: Table) -> dict[str, str]:
    """The name of each view of a table, and its kind; empty without a `view_prefix`."""
    if not table.view_prefix:
        return {}
    return {f"{table.view_prefix}_{kind}": kind for kind in layout_of(table).views}


def view_queries(table: Table, dataset: str) -> dict[str, str]:
    """The name of each view of a table, and its query; empty without a `view_prefix`.

    Args:
        table: As its file declares it.
        dataset: `project.dataset`, which goes into the queries.
    """
    folder = resources.files("schemas") / "sql"
    source = f"{dataset}.{table.name}"
    return {
        name: (folder / f"{kind}.sql").read_text("utf-8").replace("{source}", source)
        for name, kind in view_names(table).items()
    }
