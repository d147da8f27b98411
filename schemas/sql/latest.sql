-- One row an issue, the deleted ones left out: the last event of each issue_key, where last is the
-- highest update_time, then a DELETE after anything equal, then created_at, then event_id. The
-- order is total, so the answer is the same whatever order events came in, or how often.
SELECT * EXCEPT (recency)
FROM (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY issue_key
      ORDER BY
        update_time IS NULL,
        update_time DESC,
        IF(operation = 'DELETE', 0, 1),
        created_at DESC,
        event_id DESC,
        ingest_time
    ) AS recency
  FROM `{source}`
)
WHERE recency = 1 AND (operation IS NULL OR operation != 'DELETE')
