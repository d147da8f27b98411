"""BigQuery's stand-in on one machine: bqemulator 1.4.0 (DuckDB inside), mended at start.

`python -m local.bigquery_emulator start --project demo-project --rest-port N --grpc-port N
--persistent --data-dir DIR` runs it. The stock server is of no use for a live stream; what is
wrong with it, and where it is mended, each with a test:

| fault of the stock server | module |
|---|---|
| one DuckDB connection for all threads: a query during an append deadlocks them | `storage` |
| start-up wants DuckDB's extension repository on the network | `storage` |
| every append copies the whole table, for time travel | `history` |
| `tables.patch` adds a column to the catalog only | `catalog` |
| `tables.patch` with `"clustering": null` keeps the clustering | `catalog` |
| killed between a table and its catalog row, the table can't be made again | `catalog` |
| every finished query is kept for ever, in memory and on disk | `catalog`, `queries` |
| `numRows` is counted by hand and drifts | `queries` |
| a view's resource lacks its SQL | `queries` |
| an apostrophe in a JSONPath ends the query | `queries` |
| one slow query stops all other calls: everything runs on one event loop | `queries` |
| bad rows are not named, one undecodable row ends the call | `rows`, `storing` |
| an out-of-range TIMESTAMP is taken and breaks every SELECT; REQUIRED is not held | `rows` |
| fields of RECORD columns are lost; unknown fields are taken and dropped | `rows` |
| a failed append keeps its offsets, so its retry is told that the rows are there | `writing` |
| rows go in by position, in the table's shape of the connection's start | `storing`, `writing` |
| Java's later requests, which name no stream, are refused | `writing` |
| a schema that comes with an offset that is taken is forgotten | `writing` |
| finalizing does not wait for the append under way, so its `row_count` is a guess | `writing` |
| FlushRows(offset=N) leaves row N out, and a repeated flush is told OUT_OF_RANGE | `writing` |
| refusals carry no StorageError | `refusals`, `admission`, `writing` |
| Storage Write knows a table or column at once; the service does not (`--late`) | `lateness` |
| more open append calls than a few block each other and everything else | `server` |

What it still does otherwise than BigQuery: streams live in memory, so after a restart each is
NOT_FOUND (their acked rows are there, but for PENDING and BUFFERED ones, which are lost); no
`updated_schema`; no change data capture; no FOR SYSTEM_TIME (refused in words).
"""
