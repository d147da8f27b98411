-- One row an issue, the deleted ones left out: its last event, whatever order events came in, and
-- however often. The last is the one of the highest update_time, then a DELETE after anything
-- equal, then the highest created_at, then the highest event_id.
SELECT *  -- {columns}
FROM (
  SELECT *
  FROM `{source}`
  WHERE {days}
  QUALIFY
    ROW_NUMBER() OVER (
      PARTITION BY issue_key, event_id
      ORDER BY ingest_time ASC NULLS LAST, publish_time ASC NULLS LAST, created_at
    ) = 1
)
WHERE TRUE
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY issue_key
    ORDER BY
      update_time DESC NULLS LAST,
      IF(operation = 'DELETE', 0, 1),
      created_at DESC,
      event_id DESC
  ) = 1
  -- A flat message has no operation, unless it is a manual issue's.
  AND IFNULL(operation, '') != 'DELETE'
