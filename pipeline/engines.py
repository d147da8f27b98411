"""The engines: for each runner that is proven, the parts of which the job is made there.

The one place that names runners. `pipeline.build` takes an Engine and names none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline import refusals
from pipeline.append import AppendRows
from pipeline.dead_letters import PublishDeadLetters
from pipeline.expansion import expansion_problems, expansion_service
from pipeline.jobs import PLACE, bucket_of
from pipeline.known import await_known
from pipeline.objections import FILES, IN_PROCESS, ON_SERVICE, ON_SERVICE_FILES, objections_to
from pipeline.options import Settings
from pipeline.read import ReadSubscription
from pipeline.recorded import ReadRecorded
from pipeline.storage_write import Slices, WriteWithBeam
from pipeline.warm import seen_ids, written_ids
from schemas.message import DEDUP_ID, Message
from schemas.problem import Problem
from transforms.deduplicate import DropSeen
from transforms.first_of_key import DropRepeats

NATIVE, STORAGE_WRITE = "native", "storage_write"

MOST_TABLES_OF_BEAM = 20
"""Tables of a job whose sink is Beam's: each is a sink of its own, which adds 45 transforms and a
stream for each of its shards. docs/adr/0004-tables-on-beams-sink.md has the figures."""

Part = Callable[[Settings], beam.PTransform]


@dataclass(frozen=True, slots=True)
class Engine:
    """What the job is made of on one runner.

    Args:
        runner: What the user names.
        beam_runner: What Beam is really given; made at launch.
        read: ReadMessages of a live subscription.
        deduplicate: Deduplicate.
        sinks: WriteRows by the sink's name; the first is the default.
        park: The place for letters that Pub/Sub cannot take: the user's, or the engine's own.
        dead_letters: PublishDeadLetters, which parks there.
        beam_flags: What the launcher gives to Beam by itself.
        check: The engine's own objections to settings.
        in_process: Whether the job runs in this process, in stretches.
        ready: Returns when what the job writes to can take it; before each stretch.
    """

    runner: str
    beam_runner: Callable[[], Any]
    read: Part
    deduplicate: Part
    sinks: Mapping[str, Part]
    park: Callable[[Settings], str]
    dead_letters: Part
    beam_flags: Callable[[Settings], list[str]]
    check: Callable[[Settings], list[Problem]]
    in_process: bool
    ready: Callable[[Settings], None] = lambda _: None

    def read_messages(self, settings: Settings) -> beam.PTransform:
        """ReadMessages: the subscription, or files of recorded messages."""
        if settings.input_files:
            return ReadRecorded(settings.input_files)
        return self.read(settings)

    def write_rows(self, settings: Settings) -> beam.PTransform:
        """WriteRows: the sink that was asked for, or the engine's own."""
        return self.sinks[self.sink(settings)](settings)

    def sink(self, settings: Settings) -> str:
        """The name of the sink that was asked for, or of the engine's own."""
        return settings.sink or next(iter(self.sinks))


def _beam_sink(settings: Settings) -> beam.PTransform:
    bounded = bool(settings.input_files)
    slices = Slices(settings.triggering_frequency, settings.num_storage_api_streams)
    return WriteWithBeam(
        settings.tables,
        settings.output_dataset,
        slices=None if bounded else slices,
        expansion=partial(expansion_service, settings),
    )


# DirectRunner -----------------------------------------------------------------------------------

_DIRECT_HORIZON = 3_600.0


def _direct_read(settings: Settings) -> beam.PTransform:
    return ReadSubscription(settings.input_subscription, settings.stop_when_idle)


def _direct_deduplicate(settings: Settings) -> beam.PTransform:
    horizon = settings.dedup_horizon or _DIRECT_HORIZON
    written = partial(written_ids, settings.output_dataset, settings.tables, horizon)
    return beam.ParDo(DropSeen(partial(seen_ids, horizon), written))


def _direct_flags(settings: Settings) -> list[str]:
    return [] if settings.input_files else ["--streaming"]


def _direct_check(settings: Settings) -> list[Problem]:
    problems = []
    if settings.sink == STORAGE_WRITE and not settings.input_files:
        problems.append(refusals.STREAMING_SINK.at("--sink storage_write", engine="DirectRunner"))
    if settings.drain:
        what, remedy = "drains a job on Dataflow", "send SIGTERM to a job on this machine"
        problems.append(Problem("--drain", what, remedy))
    problems += objections_to(settings.beam_args, IN_PROCESS)
    if settings.stop_when_idle is not None and settings.input_files:
        problems.append(
            Problem("--stop_when_idle", "goes with a subscription; files end by themselves")
        )
    return problems


def _direct_park(settings: Settings) -> str:
    return settings.park or "build/parked"


def _direct_ready(settings: Settings) -> None:
    if DIRECT.sink(settings) == STORAGE_WRITE:
        await_known(settings.project, settings.output_dataset, settings.tables)


DIRECT = Engine(
    runner="DirectRunner",
    # By its own name: Beam's DirectRunner would first look for Prism, which does not run this job.
    beam_runner=FnApiRunner,
    read=_direct_read,
    deduplicate=_direct_deduplicate,
    sinks={
        NATIVE: lambda settings: AppendRows(settings.tables, settings.output_dataset),
        STORAGE_WRITE: _beam_sink,
    },
    park=_direct_park,
    dead_letters=lambda settings: PublishDeadLetters(
        settings.dead_letter_topic, _direct_park(settings), settings.job_name, ride_out_outages=True
    ),
    beam_flags=_direct_flags,
    check=_direct_check,
    in_process=True,
    ready=_direct_ready,
)


# DataflowRunner ---------------------------------------------------------------------------------

_ID_LABEL_HORIZON = 600.0
"""Seconds for which Dataflow drops repeats by `id_label` (its page "Streaming from Pub/Sub")."""


class _ReadFromPubSub(beam.PTransform):
    """Beam's own read, with the runner's deduplication by our `dedup_id`."""

    def __init__(self, subscription: str) -> None:
        super().__init__()
        self._subscription = subscription

    def expand(self, root: Any) -> Any:
        return (
            root
            | "Subscription"
            >> ReadFromPubSub(
                subscription=self._subscription, id_label=DEDUP_ID, with_attributes=True
            )
            | "Message" >> beam.Map(_message)
        )


def _message(received: PubsubMessage) -> Message:
    published = received.publish_time
    micros = 0
    if published is not None:
        # In two parts: a float of seconds times a million is a microsecond off now and then.
        micros = int(published.timestamp()) * 1_000_000 + published.microsecond
    return Message(
        data=received.data or b"",
        attributes=dict(received.attributes or {}),
        message_id=received.message_id or "",
        publish_time=micros,
    )


def _same(message: Message) -> Message:
    return message


def _dataflow_deduplicate(settings: Settings) -> beam.PTransform:
    horizon = settings.dedup_horizon or _ID_LABEL_HORIZON
    # Files have no `id_label`; of a bounded input every repeat is within the horizon.
    by_state = settings.input_files or horizon > _ID_LABEL_HORIZON
    return DropRepeats(horizon) if by_state else beam.Map(_same)


def _dataflow_park(settings: Settings) -> str:
    # Beside temporary files, not among them: lifecycle rules delete those.
    temp = _flag(settings, "--temp_location") or ""
    return settings.park or f"gs://{bucket_of(temp)}/parked"


def _dataflow_check(settings: Settings) -> list[Problem]:
    problems = []
    if settings.sink == NATIVE:
        problems.append(refusals.NATIVE_SINK.at("--sink native", engine="Dataflow"))
    if settings.stop_when_idle is not None:
        problems.append(
            Problem("--stop_when_idle", "is DirectRunner's", "drain the job on Dataflow instead")
        )
    problems += [
        Problem(flag, "Dataflow needs it", f"give {flag} {example}")
        for flag, example in (("--region", "us-central1"), ("--temp_location", "gs://BUCKET/tmp"))
        if _flag(settings, flag) is None and (flag == "--region" or not settings.drain)
    ]
    if settings.park and not PLACE.fullmatch(settings.park):
        problems.append(refusals.PARK_ON_A_WORKER.at(f"--park {settings.park}"))
    problems += objections_to(settings.beam_args, ON_SERVICE)
    if settings.input_files:
        problems += objections_to(settings.beam_args, ON_SERVICE_FILES)
    return problems


DATAFLOW = Engine(
    runner="DataflowRunner",
    beam_runner=lambda: "DataflowRunner",
    read=lambda settings: _ReadFromPubSub(settings.input_subscription),
    deduplicate=_dataflow_deduplicate,
    sinks={STORAGE_WRITE: _beam_sink},
    park=_dataflow_park,
    dead_letters=lambda settings: PublishDeadLetters(
        settings.dead_letter_topic,
        _dataflow_park(settings),
        settings.job_name,
        ride_out_outages=False,
    ),
    beam_flags=lambda settings: [
        *([] if settings.input_files else ["--streaming"]),
        # Beam makes the request and sends nothing; pipeline.submit sends it.
        "--dry_run=True",
        # The Java sink's jar, 164 MB, is sent at the first launch alone.
        "--enable_artifact_caching",
        # Every step lives in a module that is shipped; nothing of the launcher's own is.
        "--no_save_main_session",
        f"--job_name={settings.job_name}",
        f"--project={settings.project}",
    ],
    check=_dataflow_check,
    in_process=False,
)

ENGINES: dict[str, Engine] = {engine.runner: engine for engine in (DIRECT, DATAFLOW)}


def objections(settings: Settings) -> list[Problem]:
    """Everything that the engine that settings ask for has against them."""
    engine = ENGINES.get(settings.runner)
    problems = [] if engine is None else list(engine.check(settings))
    if settings.input_files:
        problems += objections_to(settings.beam_args, FILES)
    if engine is None:
        runners = " or ".join(ENGINES)
        problems.append(refusals.RUNNER.at(f"--runner {settings.runner}", runners=runners))
    elif settings.drain:
        pass  # nothing is built: who cannot launch must still be able to drain
    elif engine.sink(settings) == STORAGE_WRITE and len(settings.tables) > MOST_TABLES_OF_BEAM:
        problems.append(
            refusals.TABLES_OF_BEAM.at(
                "--schema",
                count=len(settings.tables),
                sink=STORAGE_WRITE,
                most=MOST_TABLES_OF_BEAM,
                other=NATIVE,
                engine=DIRECT.runner,
            )
        )
    if engine is not None and not settings.drain and engine.sink(settings) == STORAGE_WRITE:
        problems += expansion_problems(settings)
    known = {sink for each in ENGINES.values() for sink in each.sinks}
    if settings.sink and settings.sink not in known:
        problems.append(
            Problem(f"--sink {settings.sink}", "is no sink", f"choose {' or '.join(sorted(known))}")
        )
    return problems


def _flag(settings: Settings, name: str) -> str | None:
    """The value of one of Beam's flags, given as `--flag value` or `--flag=value`."""
    for i, arg in enumerate(settings.beam_args):
        head, separator, value = arg.partition("=")
        if head == name:
            return value if separator else next(iter(settings.beam_args[i + 1 : i + 2]), "")
    return None
