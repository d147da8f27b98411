"""The catalog of datasets, tables and jobs, kept in step with the tables in DuckDB."""

# ruff: noqa: SLF001 - a mend reaches into what it mends; the version is pinned.

import sys
from collections.abc import Iterable
from typing import Any

import bqemulator.api.routes.tables as tables_routes
from bqemulator.api.routes.tabledata import _fields_raw_from_schema
from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository
from bqemulator.domain.errors import UnsupportedFeatureError
from bqemulator.storage.engine import CATALOG_SCHEMA
from bqemulator.storage.sql_identifiers import quoted_schema, quoted_table_ref, schema_name
from bqemulator.storage.type_map import bq_schema_to_duckdb_columns

from local.bigquery_emulator.lateness import Lateness

KEPT_JOBS = 256


def install() -> None:
    """Puts the mend of `tables.patch` in place of the stock function.

    A member that is null is to be cleared (https://cloud.google.com/bigquery/docs/reference/rest/
    v2/tables/patch); the stock server takes `"clustering": null` for one that was not sent.
    """
    stock = tables_routes._rest_to_table_meta

    def table_of(project: str, dataset: str, body: dict[str, Any], *more: Any) -> Any:
        table = stock(project, dataset, body, *more)
        if "clustering" in body and body["clustering"] is None:
            return table.model_copy(update={"clustering": None})
        return table

    tables_routes._rest_to_table_meta = table_of


class SteadyCatalog(DuckDBCatalogRepository):  # type: ignore[misc]
    """The catalog, with these mends.

    - A column added by `tables.patch` or `tables.update` is added to the table too; the stock
      catalog only notes it, and the next append fails.
    - Table and catalog row are written in two transactions. A SIGKILL between the two leaves a
      table that the API neither shows nor lets anybody create, or the other way round: at
      start what has only one half is taken back, which nobody was told of.
    - Jobs are kept in memory, the latest 256. The stock catalog writes each finished query to
      disk and reads all of them back at start, without their results.

    Args:
        engine: The database.
        lateness: Told of each table that is made and each column that is added.
    """

    def __init__(self, engine: Any, lateness: Lateness) -> None:
        super().__init__(engine)
        self.lateness = lateness

    def create_table(self, table: Any) -> Any:
        """Makes a table, which Storage Write may not know for a while."""
        created = super().create_table(table)
        self.lateness.table_made((table.project_id, table.dataset_id, table.table_id))
        return created

    def update_table(self, table: Any) -> Any:
        """Changes a table's description, and adds the columns that are new.

        Raises:
            UnsupportedFeatureError: Fields inside a RECORD differ; DuckDB's table would lack
                them.
        """
        with self._engine.writes:
            old = self.get_table(table.project_id, table.dataset_id, table.table_id)
            if old is not None and table.table_type == "TABLE":
                self._add_columns(old, table)
            return super().update_table(table)

    def _add_columns(self, old: Any, new: Any) -> None:
        known = {field.name.lower(): field for field in old.schema_.fields}
        for field in new.schema_.fields:
            before = known.get(field.name.lower())
            if before is not None and before.fields != field.fields:
                raise UnsupportedFeatureError(
                    f"{field.name}: this stand-in can't change the fields of a RECORD"
                )
        added = [field for field in new.schema_.fields if field.name.lower() not in known]
        table = quoted_table_ref(new.project_id, new.dataset_id, new.table_id)
        for name, kind in bq_schema_to_duckdb_columns(_fields_raw_from_schema(added)):
            # It is there already when a kill came between this statement and the catalog's row.
            self._engine.execute(f'ALTER TABLE {table} ADD COLUMN IF NOT EXISTS "{name}" {kind}')
        key = (new.project_id, new.dataset_id, new.table_id)
        self.lateness.columns_added(key, (field.name for field in added))

    def upsert_job(self, job: Any) -> Any:
        """Keeps a job in memory, and forgets the oldest beyond 256."""
        self.ensure_ready()
        kept = self._cache._jobs
        kept.pop((job.project_id, job.job_id), None)
        upserted = self._cache.upsert_job(job)
        while len(kept) > KEPT_JOBS:
            kept.pop(next(iter(kept)))
        return upserted

    def _hydrate_tables(self) -> None:
        super()._hydrate_tables()
        for project, dataset in self._cache._datasets:
            self._engine.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted_schema(project, dataset)}")
        stored = set(
            self._engine.execute(
                "SELECT table_schema, table_name FROM information_schema.tables"
            ).fetchall()
        )
        noted = self._cache._tables
        self._forget(
            key
            for key, table in list(noted.items())
            if table.table_type == "TABLE" and (schema_name(*key[:2]), key[2]) not in stored
        )
        self._drop(stored - {(schema_name(*key[:2]), key[2]) for key in noted})

    def _forget(self, keys: Iterable[tuple[str, str, str]]) -> None:
        """Takes back catalog rows whose table is gone: its deletion was under way."""
        for key in keys:
            del self._cache._tables[key]
            self._engine.execute(
                f'DELETE FROM "{CATALOG_SCHEMA}"."tables" '  # noqa: S608
                "WHERE project_id = ? AND dataset_id = ? AND table_id = ?",
                list(key),
            )
            print(f"{'.'.join(key)}: its deletion is completed", file=sys.stderr)

    def _drop(self, tables: Iterable[tuple[str, str]]) -> None:
        """Takes back empty tables without a catalog row: their creation was under way."""
        datasets = {schema_name(*key) for key in self._cache._datasets}
        for schema, name in tables:
            if schema not in datasets:
                continue
            kind, rows = self._engine.execute(
                "SELECT table_type, (SELECT estimated_size FROM duckdb_tables() "
                "WHERE schema_name = $1 AND table_name = $2) "
                "FROM information_schema.tables WHERE table_schema = $1 AND table_name = $2",
                [schema, name],
            ).fetchone()
            if kind == "BASE TABLE" and not rows:
                self._engine.execute(f'DROP TABLE "{schema}"."{name}"')
                print(f"{schema}.{name}: its creation is taken back", file=sys.stderr)
