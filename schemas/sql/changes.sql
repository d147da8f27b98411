-- One row an event: of its repeats (at least once after a kill), the one that was written first.
SELECT *  -- {columns}
FROM `{source}`
WHERE {days}
QUALIFY
  -- A repeat has the event_id, and so the issue_key, of the first. The latter stands here because
  -- BigQuery applies a filter before a window function only if it is on what that partitions by.
  ROW_NUMBER() OVER (
    PARTITION BY issue_key, event_id
    ORDER BY ingest_time ASC NULLS LAST, publish_time ASC NULLS LAST, created_at
  ) = 1
