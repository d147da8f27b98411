-- Events a day, by operation and source.
SELECT
  DATE(created_at) AS day,
  operation,
  source,
  COUNT(DISTINCT event_id) AS events,
  COUNT(DISTINCT issue_key) AS issues
FROM `{source}`
GROUP BY day, operation, source
