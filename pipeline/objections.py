"""What an engine has against Beam's own flags: those that would lose or double data on it.

`pipeline.engines` says which of these lists an engine uses; `pipeline.beam_flags` has what no
engine takes. Read against Beam 2.73's `pipeline_options.py`, its `dataflow_runner.py` and its
`fn_runner.py`. Let through, since they neither lose nor double: names and places
(`--temp_location`, `--dataflow_endpoint`, networks, labels, keys), sizes and numbers of workers and
threads, profiling and logs, `--save_main_session`, `--update` and `--update_compatibility_version`,
`--gbek`, `--element_processing_timeout_minutes` (a bundle is begun again), the experiments
`enable_prime` and `use_legacy_bq_sink` (Beam has no such sink any more, and says so).
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline import refusals
from pipeline.beam_flags import beam_options
from pipeline.refusals import Refusal
from schemas.problem import Problem

AT_LEAST_ONCE = "streaming_mode_at_least_once"
"""https://cloud.google.com/dataflow/docs/guides/streaming-modes: a service option, which templates
and gcloud pass as an experiment."""

_OTHER_ENGINES = (
    # Beam itself raises on these, in mid-launch (`_is_runner_v2_disabled`).
    "disable_runner_v2",
    "disable_runner_v2_until_2023",
    "disable_runner_v2_until_v2.50",
    "disable_prime_runner_v2",
    # Of a subscription Beam would make a batch job, which never ends and writes nothing.
    "unsafely_attempt_to_process_unbounded_data_in_batch_mode",
)


@dataclass(frozen=True, slots=True)
class Objection:
    """What is refused of one flag.

    Args:
        flag: As it is written.
        refusal: What is said.
        value: The value that is refused, from what all of Beam's flags say; None, or an empty
            one, where nothing is.
    """

    flag: str
    refusal: Refusal
    value: Callable[[argparse.Namespace], object]


IN_PROCESS = (
    Objection(
        "--direct_num_workers",
        refusals.WORKERS,
        lambda said: None if said.direct_num_workers == 1 else str(said.direct_num_workers),
    ),
    Objection(
        "--direct_running_mode",
        refusals.RUNNING_MODE,
        lambda said: None if said.direct_running_mode == "in_memory" else said.direct_running_mode,
    ),
    Objection(
        "--direct_runner_bundle_repeat",
        refusals.BUNDLE_REPEAT,
        lambda said: said.direct_runner_bundle_repeat,
    ),
    Objection(
        "--direct_test_splits",
        refusals.TEST_SPLITS,
        lambda said: said.direct_test_splits not in ({}, "{}") and said.direct_test_splits,
    ),
)
"""Of an engine that runs the job in this process."""

ON_SERVICE = (
    Objection(
        AT_LEAST_ONCE,
        refusals.AT_LEAST_ONCE,
        lambda said: AT_LEAST_ONCE in _options_of_the_service(said),
    ),
    *(
        Objection(
            f"--experiments {name}",
            refusals.OTHER_ENGINE,
            lambda said, name=name: name in _options_of_the_service(said),  # type: ignore[misc]
        )
        for name in _OTHER_ENGINES
    ),
    Objection(
        "--create_from_snapshot", refusals.FROM_SNAPSHOT, lambda said: said.create_from_snapshot
    ),
    Objection("--pubsub_root_url", refusals.OTHER_PUBSUB, lambda said: said.pubsubRootUrl),
    Objection(
        "--transform_name_mapping",
        refusals.MAPPING_ALONE,
        lambda said: said.transform_name_mapping and not said.update,
    ),
)
"""Of an engine that hands the job to a service."""

ON_SERVICE_FILES = (Objection("--update", refusals.UPDATE_FILES, lambda said: said.update),)
"""The same, where files are read."""

FILES = (Objection("--streaming", refusals.STREAMING_FILES, lambda said: said.streaming),)
"""Of every engine, where files are read."""


def objections_to(beam_args: Sequence[str], against: Sequence[Objection]) -> list[Problem]:
    """What is refused of what was given.

    Args:
        beam_args: Beam's flags, as they were given.
        against: The engine's.
    """
    said = beam_options(beam_args)
    return [
        each.refusal.at(each.flag, value=value) for each in against if (value := each.value(said))
    ]


def _options_of_the_service(said: argparse.Namespace) -> set[str]:
    """Experiments and service options, which the service takes for each other.

    Beam parts a list at its commas, but not behind a `=`; the service is told the parts.
    """
    lists = (said.experiments or [], said.dataflow_service_options or [])
    return {part.strip() for values in lists for value in values for part in value.split(",")}
