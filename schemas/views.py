"""The views of a table: SQL derived from its file, each dropping repeats of `event_id`."""

from importlib import resources

from schemas.table import Table, view_names


def view_queries(table: Table, dataset: str) -> dict[str, str]:
    """The name of each view of a table, and its query; empty without a `view_prefix`.

    Args:
        table: A table of the structured layout.
        dataset: `project.dataset`, which goes into the queries.
    """
    folder = resources.files("schemas") / "sql"
    source = f"{dataset}.{table.name}"
    return {
        name: (folder / f"{kind}.sql").read_text("utf-8").replace("{source}", source)
        for name, kind in view_names(table).items()
    }
