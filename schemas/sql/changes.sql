-- One row an event: repeats of an event_id (at least once after a kill) are dropped, the first
-- that was written is kept.
SELECT * EXCEPT (repeat)
FROM (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY ingest_time, publish_time) AS repeat
  FROM `{source}`
)
WHERE repeat = 1
