"""Rows a second through the native sink into bqemulator: appends of 1,000 rows, awaited."""

import os
import shutil
import time
from pathlib import Path

from local.layout import Addresses, Options, bigquery_command
from local.load import changes
from local.ports import HOST, Ports
from local.processes import Processes
from local.web import answers
from pipeline import append
from pipeline.append_stream import Encoded
from schemas import live
from schemas.apply import apply
from schemas.encode import Encoder
from schemas.event import decode_message
from schemas.row import Shaper
from schemas.table_file import shipped
from schemas.times import now_micros

ROWS = 100_000
_BATCH = 1_000
_READY_SECONDS = 60.0


def run() -> dict[str, object]:
    """Starts bqemulator, appends, counts what is there."""
    folder = Path("build/bench/sink").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    ports = Ports()
    addresses = Addresses(
        publisher="",
        bigquery=f"http://{HOST}:{ports.take(0)}",
        bigquery_grpc=f"{HOST}:{ports.take(0)}",
        pubsub="",
        firestore="",
        project=Options().project,
    )
    processes = Processes(folder / "logs", lambda _: None)
    processes.open()
    try:
        child = processes.start(bigquery_command(Options(folder=folder), addresses))
        place = f"{addresses.bigquery_address}/bigquery/v2/projects/{addresses.project}/datasets"
        child.wait_ready(lambda _: answers(place), _READY_SECONDS)
        os.environ[live.BIGQUERY_EMULATOR_HOST] = addresses.bigquery
        os.environ[live.BIGQUERY_STORAGE_EMULATOR_HOST] = addresses.bigquery_grpc
        return _measure(addresses.project)
    finally:
        processes.close()
        os.environ.pop(live.BIGQUERY_EMULATOR_HOST, None)
        os.environ.pop(live.BIGQUERY_STORAGE_EMULATOR_HOST, None)


def _measure(project: str) -> dict[str, object]:
    tables = shipped()
    client = live.bigquery_client(project)
    apply(client, "issues_ds", tables)
    encoder, shaper = Encoder(tables[0]), Shaper(tables)
    rows = []
    for message in changes(ROWS, "sink"):
        values = shaper.shape(decode_message(message), now_micros()).values
        rows.append(Encoded(encoder.encode(values), message.event_id, values["created_at"]))
    writer = append.table_writer(f"{project}.issues_ds", tables[0], encoder.descriptor)
    latencies = []
    began = time.perf_counter()
    for start in range(0, ROWS, _BATCH):
        sent = time.perf_counter()
        if refused := writer.append(rows[start : start + _BATCH]):
            raise RuntimeError(f"a row was refused: {refused[0]}")
        latencies.append(time.perf_counter() - sent)
    took = time.perf_counter() - began
    writer.close()
    query = "SELECT COUNT(*), COUNT(DISTINCT event_id) FROM issues_ds.issues_stream"
    found = next(iter(client.query(query, timeout=60, retry=None).result(timeout=60, retry=None)))
    if tuple(found) != (ROWS, ROWS):
        raise RuntimeError(f"{ROWS} rows were written, {tuple(found)} are there")
    return {
        "rows": ROWS,
        "rows/s": round(ROWS / took),
        "append of 1,000 rows, median ms": round(sorted(latencies)[len(latencies) // 2] * 1e3, 1),
    }
