"""Queries: off the event loop, their results bounded, their tables counted."""

# ruff: noqa: SLF001 - a mend reaches into what it mends; the version is pinned.

import asyncio
from typing import Any

import bqemulator.api.routes.jobs as jobs_routes
import bqemulator.api.routes.tables as tables_routes
from bqemulator.domain.errors import DomainError
from bqemulator.jobs import executor
from bqemulator.storage.sql_identifiers import quoted_table_ref
from sqlglot.generator import Generator

from local.bigquery_emulator.storage import CursorEngine

KEPT_RESULTS = 64
KEPT_BYTES = 512 * 1024 * 1024


class RecentResults(dict[str, Any]):
    """Results of finished queries by job: the latest 64, or 512 MiB of them.

    The stock server keeps every result for ever. The last one is kept whatever its size.
    """

    def __init__(self, schemas: dict[str, Any]) -> None:
        super().__init__()
        self._schemas = schemas

    def __setitem__(self, job: str, result: Any) -> None:
        """Keeps a result as the newest, and forgets the oldest beyond the bounds."""
        self.pop(job, None)
        super().__setitem__(job, result)
        size = sum(table.nbytes for table in self.values())
        while len(self) > 1 and (len(self) > KEPT_RESULTS or size > KEPT_BYTES):
            oldest = next(iter(self))
            size -= self.pop(oldest).nbytes
            self._schemas.pop(oldest, None)


async def run_statement(
    project_id: str, bq_sql: str, query_params: Any, ctx: Any, *, caller: Any
) -> Any:
    """Runs one statement in a thread of its own and returns its Arrow table.

    The stock server runs it on the event loop, which serves every other call, appends too.
    Statements that change tables go one at a time, and never during an append's insert.
    """
    translated = await executor.rewrite_and_translate_statement(
        bq_sql, project_id=project_id, ctx=ctx, caller=caller, translator=executor._translator
    )
    reads = executor.classify_statement_type(bq_sql) == "SELECT"
    return await asyncio.to_thread(_run, translated, project_id, query_params, ctx.engine, reads)


def _run(
    translated: str, project_id: str, query_params: Any, engine: CursorEngine, reads: bool
) -> Any:
    sql = translated
    try:
        sql = executor.rewrite_table_refs(translated, project_id)
        sql, values = executor.bind_parameters(sql, query_params)
        if reads:
            return engine.fetch_arrow(sql, values or None)
        with engine.writes:
            return engine.fetch_arrow(sql, values or None)
    except DomainError as error:
        reported = executor.translate_runtime_error(error, duckdb_sql=sql)
        if reported is error:
            raise
        raise reported from error
    except Exception as error:
        # As the stock server has it: whatever DuckDB or the binding of parameters raises
        # becomes the error of the job.
        raise executor.translate_runtime_error(error, duckdb_sql=sql) from error


def jsonpath_sql(generator: Any, expression: Any) -> str:
    """A JSONPath as DuckDB's literal; sqlglot leaves an apostrophe in it as it is."""
    expression.set("escape", True)
    text: str = _stock_jsonpath(generator, expression)
    return text


_stock_jsonpath = Generator.jsonpath_sql


def install(engine: CursorEngine) -> None:
    """Puts these mends in place of the stock functions, for the server of this engine."""
    Generator.jsonpath_sql = jsonpath_sql
    executor._run_single_sql = run_statement
    executor.JOB_SCHEMAS = jobs_routes.JOB_SCHEMAS = {}
    executor.JOB_RESULTS = jobs_routes.JOB_RESULTS = RecentResults(executor.JOB_SCHEMAS)

    stock = tables_routes._table_to_rest

    def table_to_rest(table: Any) -> dict[str, Any]:
        """The table's resource: `numRows` counted now, not kept by hand; a view's own SQL."""
        resource: dict[str, Any] = stock(table)
        if table.table_type == "TABLE":
            name = quoted_table_ref(table.project_id, table.dataset_id, table.table_id)
            counted = engine.execute(f"SELECT count(*) FROM {name}").fetchone()  # noqa: S608
            resource["numRows"] = str(counted[0])
        elif table.table_type == "VIEW":
            resource["view"] = {"query": table.view_query, "useLegacySql": False}
        return resource

    tables_routes._table_to_rest = table_to_rest
