"""What a start refuses because it would lose or double data, or end the job: one entry each.

docs/preflight.md shows this list, and tests/pipeline/test_preflight_page.py holds that each entry
is on that page and has a test case. Pages that a rule comes from:

- https://cloud.google.com/pubsub/docs/subscription-properties (retention, expiry, filter)
- https://cloud.google.com/pubsub/docs/ordering (one redelivery brings all later ones of its key)
- https://cloud.google.com/dataflow/docs/concepts/streaming-with-cloud-pubsub (what of Pub/Sub
  Dataflow does not support: dead-letter policies, exactly-once delivery)
- https://cloud.google.com/pubsub/docs/smts/smts-overview (a transform can drop or alter a message)
- https://cloud.google.com/storage/docs/lifecycle (a rule without a prefix acts on every file)
- https://cloud.google.com/bigquery/docs/managing-partitioned-tables (what has expired is deleted)
"""

from dataclasses import dataclass

from schemas.problem import Problem


@dataclass(frozen=True, slots=True)
class Refusal:
    """One kind of refusal.

    Args:
        name: By which the page and the tests know it.
        of: The flag or thing that it is about, for the page.
        what: What is wrong, as a clause; `{words}` are filled in.
        remedy: What to do.
    """

    name: str
    of: str
    what: str
    remedy: str

    def at(self, where: str, **words: object) -> Problem:
        """The refusal of one thing."""
        return Problem(where, self.what.format(**words), self.remedy.format(**words))


_ANOTHER = "create another subscription: this cannot be changed, and give its name"
_UPDATE = "gcloud pubsub subscriptions update {name}"

# The input ----------------------------------------------------------------------------------------

SUBSCRIPTION_MISSING = Refusal(
    "subscription-missing",
    "--input_subscription",
    "is not there",
    "create it on the issues topic before the publisher starts: a topic without a subscription "
    "discards what comes",
)
TOPIC_DELETED = Refusal(
    "topic-deleted",
    "--input_subscription",
    "its topic was deleted: nothing comes here any more, though a topic of that name be made again",
    "let the job empty it with --stop_when_idle or a drain, then create it anew on the topic",
)
DETACHED = Refusal(
    "detached",
    "--input_subscription",
    "is detached from its topic: it has no messages and gets none",
    _ANOTHER,
)
NOT_ON_TOPIC = Refusal(
    "not-on-topic",
    "--input_subscription",
    "is not among the subscriptions of its topic {topic}",
    "create it anew on the topic that the publisher uses",
)
RETENTION = Refusal(
    "retention",
    "--input_subscription",
    "keeps messages for {kept}, and what the job has not read by then is lost: a day at least",
    _UPDATE + " --message-retention-duration=7d",
)
EXPIRATION = Refusal(
    "expiration",
    "--input_subscription",
    "is deleted, with all that is in it, when the job is away for {ttl}",
    _UPDATE + " --expiration-period=never",
)
FILTER = Refusal(
    "filter",
    "--input_subscription",
    "drops what does not match its filter {filter!r}",
    _ANOTHER,
)
DEAD_LETTER_POLICY = Refusal(
    "dead-letter-policy",
    "--input_subscription",
    "has a dead-letter policy: after {attempts} deliveries Pub/Sub takes a message away to "
    "{topic}, though nothing is wrong with it, as in an outage of BigQuery",
    _UPDATE + " --clear-dead-letter-policy",
)
EXACTLY_ONCE = Refusal(
    "exactly-once-delivery",
    "--input_subscription",
    "has exactly-once delivery: it refuses acknowledgements that come late, holds messages back "
    "meanwhile, and adds nothing, since the job drops repeats by event_id",
    _UPDATE + " --no-enable-exactly-once-delivery",
)
ORDERING = Refusal(
    "ordering",
    "--input_subscription",
    "has message ordering: one repeat brings all later messages of its key again, acknowledged "
    "ones too, so that they can be older than --dedup_horizon",
    _ANOTHER,
)
EXPORT = Refusal(
    "export",
    "--input_subscription",
    "hands its messages to {to}: none is left for the job to pull",
    "give the job a pull subscription of its own",
)
TRANSFORM = Refusal(
    "transform",
    "--input_subscription",
    "changes or drops messages by a transform of its own ({kinds})",
    "take the transform away, or give the job a subscription without one",
)
TOPIC_TRANSFORM = Refusal(
    "topic-transform",
    "--input_subscription",
    "its topic {topic} changes or drops messages by a transform ({kinds})",
    "gcloud pubsub topics update {topic} --clear-message-transforms",
)
INPUT_FILES = Refusal("input-files", "--input_files", "matches no file", "give a path or a glob")

# Dead letters -------------------------------------------------------------------------------------

DEAD_LETTERS_MISSING = Refusal(
    "dead-letters-missing", "--dead_letter_topic", "is not there", "create it, with a subscription"
)
DEAD_LETTERS_ARE_INPUT = Refusal(
    "dead-letters-are-input",
    "--dead_letter_topic",
    "is the topic that the job reads",
    "give the dead letters their own",
)
DEAD_LETTERS_UNSUBSCRIBED = Refusal(
    "dead-letters-unsubscribed",
    "--dead_letter_topic",
    "has no subscription: it would discard every letter",
    "create one",
)
DEAD_LETTERS_NOT_KEPT = Refusal(
    "dead-letters-not-kept",
    "--dead_letter_topic",
    "has no subscription that keeps every letter: {reasons}",
    "create one without filter, transform and expiry that keeps messages for a day at least",
)
DEAD_LETTERS_TRANSFORM = Refusal(
    "dead-letters-transform",
    "--dead_letter_topic",
    "changes or drops letters by a transform ({kinds})",
    "gcloud pubsub topics update {topic} --clear-message-transforms",
)
DEAD_LETTERS_SCHEMA = Refusal(
    "dead-letters-schema",
    "--dead_letter_topic",
    "takes only messages of its schema {schema}, and a letter has the bytes that came",
    "gcloud pubsub topics update {topic} --clear-schema-settings",
)
PARK = Refusal("park", "--park", "cannot be written: {error}", "")
PARK_ON_A_WORKER = Refusal(
    "park-on-a-worker",
    "--park",
    "is not of the form gs://BUCKET/FOLDER, and a worker's own disk is gone with it",
    "give --park gs://BUCKET/parked, or leave it out",
)
PARK_DELETED = Refusal(
    "park-deleted",
    "--park",
    "a lifecycle rule of its bucket deletes what is there{age}",
    "give --park a place of another bucket, or the rule a matchesPrefix that leaves it out",
)

# Tables -------------------------------------------------------------------------------------------

TABLE_MISSING = Refusal("table-missing", "a table", "is not there", "create it: {command}")
TABLE_DIFFERS = Refusal(
    "table-differs",
    "a table",
    "is a view or an external table; is partitioned otherwise; has a column of another type or "
    "mode, one of limited length, or a REQUIRED one that the job does not fill",
    "each has its own: `python -m schemas diff` shows them too",
)
COLUMNS_MISSING = Refusal(
    "columns-missing", "a table", "lacks columns: {columns}", "add them: {command}"
)
PARTITION_EXPIRES = Refusal(
    "partition-expires",
    "a table",
    "drops rows {days:g} days after {column}: late events vanish as they are written, and the job "
    "needs {needed} days to know what it wrote",
    "ALTER TABLE `{table}` SET OPTIONS (partition_expiration_days = {needed}), or more",
)
TABLE_EXPIRES = Refusal(
    "table-expires",
    "a table",
    "is deleted with its rows at {when}",
    "ALTER TABLE `{table}` SET OPTIONS (expiration_timestamp = NULL)",
)

# Access -------------------------------------------------------------------------------------------

CREDENTIALS = Refusal(
    "credentials",
    "credentials",
    "{error}",
    "run gcloud auth application-default login, or aim the job at emulators",
)
ACCESS = Refusal(
    "access", "what the job uses", "may not be read: {error}", "grant the account {role}"
)
RIGHTS = Refusal(
    "rights", "what the job uses", "the account lacks {permissions}", "grant it {role}"
)

# Flags: every engine ------------------------------------------------------------------------------

INPUT_TOPIC = Refusal(
    "input-topic",
    "--input_topic",
    "the job reads a subscription: a topic read misses what came before",
    "give --input_subscription",
)
NO_TYPE_CHECK = Refusal(
    "no-type-check", "--no_pipeline_type_check", "breaks Beam's typed rows", "leave it out"
)
UNSAFE_TRIGGERS = Refusal(
    "unsafe-triggers",
    "--allow_unsafe_triggers",
    "lets Beam build triggers that lose data",
    "leave it out",
)
UNSTABLE_KEYS = Refusal(
    "unstable-keys",
    "--allow_non_deterministic_key_coders",
    "lets Beam group by keys whose bytes can differ: a repeat would not meet its first",
    "leave it out",
)
STREAMING_FILES = Refusal(
    "streaming-files",
    "--streaming with --input_files",
    "goes with a subscription: of files the sink writes when they end",
    "leave it out: the job says by itself what it is",
)
RUNNER = Refusal("runner", "--runner", "this job is not proven on it", "choose {runners}")
TABLES_OF_BEAM = Refusal(
    "tables-of-beam",
    "--schema",
    "{count} tables, and the {sink} sink takes {most}: each is a sink of its own in the graph",
    "let collections share a table; the {other} sink ({engine}) has no such maximum",
)

# Flags: in this process ---------------------------------------------------------------------------

STREAMING_SINK = Refusal(
    "streaming-sink",
    "--sink storage_write",
    "Beam's Java sink cannot stream on {engine}",
    "leave --sink out, or read recorded messages with --input_files",
)
WORKERS = Refusal(
    "workers",
    "--direct_num_workers",
    "{value} workers read only part of a subscription",
    "leave it out; several processes can share a subscription",
)
RUNNING_MODE = Refusal(
    "running-mode",
    "--direct_running_mode",
    "{value} puts workers outside of this thread or process, where the cache of seen ids and the "
    "acknowledgements are not",
    "leave it out",
)
BUNDLE_REPEAT = Refusal(
    "bundle-repeat",
    "--direct_runner_bundle_repeat",
    "processes every bundle again: rows are written twice",
    "leave it out",
)
TEST_SPLITS = Refusal(
    "test-splits",
    "--direct_test_splits",
    "is Beam's own test hook: it parts bundles at set places",
    "leave it out",
)

# Flags: on the service ----------------------------------------------------------------------------

NATIVE_SINK = Refusal(
    "native-sink",
    "--sink native",
    "writes twice when {engine} retries a bundle",
    "leave --sink out: Beam's sink is exactly once there",
)
AT_LEAST_ONCE = Refusal(
    "at-least-once",
    "--dataflow_service_options or --experiments streaming_mode_at_least_once",
    "doubles what this job promises to write once",
    "leave it out",
)
OTHER_ENGINE = Refusal(
    "other-engine",
    "--experiments disable_runner_v2 and its like",
    "asks for an engine that cannot run this job",
    "leave it out: streaming Python runs on Runner v2 with Streaming Engine alone",
)
FROM_SNAPSHOT = Refusal(
    "from-snapshot",
    "--create_from_snapshot",
    "starts from the state of a snapshot, and what came after it is read again",
    "update or drain the running job instead",
)
OTHER_PUBSUB = Refusal(
    "other-pubsub",
    "--pubsub_root_url",
    "lets the job read another Pub/Sub than the one whose subscription was checked",
    "leave it out",
)
MAPPING_ALONE = Refusal(
    "mapping-alone",
    "--transform_name_mapping",
    "goes with --update: a new job has no steps to map",
    "add --update",
)
UPDATE_FILES = Refusal(
    "update-files",
    "--update with --input_files",
    "only a streaming job can be updated, and files make none",
    "leave one of the two out",
)

REFUSALS: dict[str, Refusal] = {
    each.name: each for each in tuple(globals().values()) if isinstance(each, Refusal)
}
"""All of them by name, in the order above."""
