"""From the command line to a running job: settings, checks, banner, run, exit code."""

import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import apache_beam as beam
import google.auth
from apache_beam.options.pipeline_options import CrossLanguageOptions, PipelineOptions
from apache_beam.utils.subprocess_server import JavaJarServer
from google.auth.exceptions import DefaultCredentialsError

from pipeline import resident
from pipeline.build import build
from pipeline.deadline import OutOfTime, lasting, within
from pipeline.engines import ENGINES, Engine, objections
from pipeline.metrics import RunTotals
from pipeline.options import Settings, parse
from pipeline.outages import StoppedWaiting
from pipeline.package import package_flags
from pipeline.preflight import examine, report
from pipeline.questions import Findings, together
from pipeline.read import puller_key
from schemas import live
from schemas.problem import Problem, ProblemsFound

_PROJECT_SECONDS = 2.0

DONE, FAILED, REFUSED = 0, 1, 2
"""Exit codes: all is written and acknowledged; the job ended early; nothing was started."""

_log = logging.getLogger(__name__)


class NotStarted(ProblemsFound):
    """The pipeline could not be built, so nothing was read."""


def main(argv: Sequence[str]) -> int:
    """Runs the job; returns the exit code."""
    _log_to_stderr()
    settings, found = checked(argv)
    if "--check" in argv:
        sys.stdout.write("".join(f"{line}\n" for line in report(found)))
        return REFUSED if settings is None else DONE
    for each in found.unchecked:
        _log.warning("not checked: %s", each)
    if settings is None:
        _say(found.problems)
        return REFUSED
    engine = ENGINES[settings.runner]
    if not settings.drain:
        sys.stderr.write("".join(f"{line}\n" for line in banner(settings, engine)))
        sys.stderr.flush()
    if engine.in_process:
        return run_here(settings, engine)
    return _submit(settings, engine)


def checked(argv: Sequence[str]) -> tuple[Settings | None, Findings]:
    """What the command line and the services have to say; no settings where something is wrong."""
    found = Findings()

    def ask(settings: Settings) -> list[Problem]:
        nonlocal found
        engine = ENGINES.get(settings.runner)
        if settings.drain:
            return []  # nothing is to be started
        if engine is None or engine.in_process:
            found = examine(settings)
        else:
            found = _examined_with_door(settings)
        return list(found.problems)

    try:
        return parse(argv, _default_project, objections, ask), found
    except ProblemsFound as error:
        return None, replace(found, problems=error.problems)


def _examined_with_door(settings: Settings) -> Findings:
    """Side by side: what the job meets, and what its launch does."""
    from pipeline.door import check_door  # noqa: PLC0415 - a run on this machine needs none of it

    with ThreadPoolExecutor() as pool:
        job, door = pool.map(lambda ask: ask(settings), (examine, check_door))
    told = {problem.where for problem in door.problems}  # both need the same credentials
    others = tuple(problem for problem in job.problems if problem.where not in told)
    return together((replace(job, problems=others), door))


def banner(settings: Settings, engine: Engine) -> list[str]:
    """What is read, what is written, and whether that is an emulator or Google Cloud."""
    pubsub = os.environ.get(live.PUBSUB_EMULATOR_HOST)
    bigquery = os.environ.get(live.BIGQUERY_EMULATOR_HOST)
    from_ = f"emulator at {pubsub}" if pubsub else "Google Cloud"
    to = f"emulator at {bigquery}" if bigquery else "Google Cloud"
    sink = settings.sink or next(iter(engine.sinks))
    names = ", ".join(table.name for table in settings.tables)
    source = settings.input_files or f"{settings.input_subscription} (Pub/Sub: {from_})"
    return [
        f"engine {engine.runner}, job {settings.job_name}",
        f"writing {settings.output_dataset}: {names} (BigQuery: {to}; sink {sink})",
        f"dead letters to {settings.dead_letter_topic} (Pub/Sub: {from_})",
        f"reading {source}",
    ]


def run_here(settings: Settings, engine: Engine) -> int:
    """Runs the job in this process, in stretches, until it is told to stop or the input ends."""
    totals = RunTotals()
    with stopped_by_signals():
        try:
            while True:
                totals.add(run_stretch(settings, engine))
                if settings.input_files or resident.stopping.is_set():
                    break
            code = _acknowledged(settings)
        except Exception as error:  # noqa: BLE001 - logged, with an exit code
            code = _explain(resident.raised or error, settings)
            resident.stop()  # else closing waits for what rides out an outage
        finally:
            resident.close_all()
    for line in totals.lines():
        _log.info(line)
    if code == DONE:
        _log.info("done: everything read is written and acknowledged")
    return code


def _acknowledged(settings: Settings) -> int:
    """Waits until Pub/Sub has every acknowledgement; FAILED when it does not take them."""
    puller = resident.existing(puller_key(settings.input_subscription))
    left = puller.drain() if puller is not None else 0
    if left:
        _log.error("%d acknowledgements not taken: those messages come again", left)
    return FAILED if left else DONE


def run_stretch(settings: Settings, engine: Engine) -> list[object]:
    """Runs the pipeline once, to the end of the stretch; returns its counters."""
    with built(settings, engine) as pipeline:
        engine.ready(settings)
        result = pipeline.run()
        result.wait_until_finish()
        counters: list[object] = result.metrics().query()["counters"]
        return counters


def _submit(settings: Settings, engine: Engine) -> int:
    """Starts the job on its service; returns when it is there."""
    from pipeline import door, submit  # noqa: PLC0415 - a run on this machine needs none of it

    try:
        if settings.drain:
            _log.info(door.drain(settings))
            return DONE
        # Asked again after all other checks, as near to the launch as can be.
        opened = door.knock(settings)
        with submit.tidy() as folder:
            shipped = replace(
                settings, beam_args=(*settings.beam_args, *package_flags(settings, folder))
            )
            with built(shipped, engine) as pipeline:
                _log.info(submit.submit(pipeline, opened))
    except ProblemsFound as error:
        _say(error.problems)
        return REFUSED
    return DONE


@contextmanager
def built(settings: Settings, engine: Engine) -> Iterator[beam.Pipeline]:
    """The pipeline, ready to run, with the services that its Java steps need until it has run.

    What Beam sets up in `with beam.Pipeline()` and nowhere else: without it `--beam_services` is
    not heeded. That form itself would wait for a submitted job, and hides its result.

    Raises:
        NotStarted: It cannot be built.
    """
    options = PipelineOptions([*engine.beam_flags(settings), *settings.beam_args])
    services = options.view_as(CrossLanguageOptions).beam_services
    with JavaJarServer.beam_services(services), JavaJarServer.cache_subprocesses():
        pipeline = beam.Pipeline(runner=engine.beam_runner(), options=options)
        try:
            build(pipeline, settings, engine)
        except ProblemsFound as error:
            raise NotStarted(error.problems) from error
        yield pipeline


def _explain(error: Exception, settings: Settings) -> int:
    """Says why the job ended: in a sentence where one can be had."""
    if isinstance(error, ProblemsFound):
        _say(error.problems)
        return REFUSED if isinstance(error, NotStarted) else FAILED
    if isinstance(error, StoppedWaiting):
        _log.error("%s; what was not acknowledged comes again", error)
    else:
        _log.error("the job ended; what was not acknowledged comes again", exc_info=error)
        # That a table or a column is gone, Beam's sink says in a trace of Java's only.
        _say(examine(settings).problems)
    return FAILED


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGINT ask the job to drain; the same signal again ends the process at once.

    A handler runs on the main thread between any two instructions, perhaps inside of the very
    lock that stopping takes. So it only hands the signal on, by the one queue whose `put` is
    reentrant, to a thread that stops the job.
    """
    arrived: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def hand_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        signal.signal(number, signal.SIG_DFL)
        arrived.put(number)

    def watch() -> None:
        while (number := arrived.get()) is not None:
            _log.info("told to stop (%s): draining", signal.Signals(number).name)
            resident.stop()

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        arrived.put(None)
        watcher.join()


def _default_project() -> str:
    if os.environ.get("GOOGLE_CLOUD_PROJECT"):
        return os.environ["GOOGLE_CLOUD_PROJECT"]
    try:
        # On a machine without credentials it asks, again and again, a server that is nowhere.
        return within(lasting(_PROJECT_SECONDS), lambda: google.auth.default()[1] or "")
    except (DefaultCredentialsError, OutOfTime):
        return ""


def _say(problems: Sequence[Problem]) -> None:
    for problem in problems:
        sys.stderr.write(f"{problem}\n")


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s %(message)s",
        stream=sys.stderr,
        force=True,
    )
    for noisy in ("apache_beam", "google", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # What it warns of before it gives up is said once, as a Problem.
    logging.getLogger("google.auth").setLevel(logging.ERROR)
