-- Counts of events by their day in UTC and their source, and by the priority and the status after
-- them (before it, of a DELETE) where the table has such columns. Repeats are dropped.
SELECT
  DATE(created_at) AS day,
  source,
  {counted}
  COUNT(*) AS events,
  COUNT(DISTINCT issue_key) AS issues,
  COUNTIF(operation IN ('CREATE', 'MANUAL')) AS created,
  COUNTIF(operation = 'UPDATE') AS updated,
  {changed}
  COUNTIF(operation = 'DELETE') AS deleted,
  COUNTIF(operation = 'IMPORT') AS imported
FROM (
  SELECT
    created_at,
    source,
    {counted}
    issue_key,
    operation,
    changed_fields
  FROM `{source}`
  WHERE {days}
  QUALIFY
    ROW_NUMBER() OVER (
      PARTITION BY issue_key, event_id
      ORDER BY ingest_time ASC NULLS LAST, publish_time ASC NULLS LAST, created_at
    ) = 1
)
GROUP BY {groups}
