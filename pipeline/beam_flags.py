"""Which of the command line's flags are Beam's, what they say, and which of them are refused."""

import argparse
import difflib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NoReturn

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import refusals
from schemas.problem import Problem


def beam_problems(beam_args: Sequence[str], own: Sequence[str]) -> list[Problem]:
    """What may not reach Beam: leftovers, unknown flags, values that Beam does not take, and flags
    that would lose or double data on every engine.

    Args:
        beam_args: What the job's own parser left.
        own: The job's own flags, with their dashes, one of which may have been meant.
    """
    problems = []
    names = {arg.partition("=")[0] for arg in beam_args if arg.startswith("--")}
    if "--input_topic" in names:
        names.remove("--input_topic")
        problems.append(refusals.INPUT_TOPIC.at("--input_topic"))
    said = beam_options(beam_args)
    problems += [
        refusal.at(flag)
        for flag, refusal, refused in (
            (
                "--no_pipeline_type_check",
                refusals.NO_TYPE_CHECK,
                not said.pipeline_type_check,
            ),
            ("--allow_unsafe_triggers", refusals.UNSAFE_TRIGGERS, said.allow_unsafe_triggers),
            (
                "--allow_non_deterministic_key_coders",
                refusals.UNSTABLE_KEYS,
                said.allow_non_deterministic_key_coders,
            ),
        )
        if refused
    ]
    beams = beam_flags()
    for name in sorted(names - beams.keys()):
        close = difflib.get_close_matches(name, [*beams, *own], 1)
        remedy = f"did you mean {close[0]}?" if close else "--help lists the job's own"
        problems.append(Problem(name, "is neither the job's flag nor Beam's", remedy))
    for unit in _units(beam_args):
        if unit[0].startswith("--"):
            problems += _wrong_value(unit)
        else:
            problems.append(
                Problem(unit[0], "is no flag, nor the value of one", "flags begin with --")
            )
    return problems


def beam_options(beam_args: Sequence[str]) -> argparse.Namespace:
    """What Beam's flags say, those that are not given by their defaults.

    Args:
        beam_args: What the job's own parser left; a flag that Beam does not know, or whose value
            it does not take, counts as not given.
    """
    good = [arg for unit in _units(beam_args) if not _wrong_value(unit) for arg in unit]
    return _parser().parse_known_args(good)[0]


@cache
def beam_flags() -> dict[str, bool]:
    """Every flag of Beam's own, and whether it takes a value.

    One that Beam does not know it would only log and drop.
    """
    return {
        flag: action.nargs != 0
        for action in _parser()._actions  # noqa: SLF001
        for flag in action.option_strings
    }


class _Refused(Exception):
    """Argparse does not take an argument."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Ends the parse, where argparse's own would end the process."""
        raise _Refused(message)


@cache
def _parser() -> argparse.ArgumentParser:
    beams = _Parser(add_help=False, conflict_handler="resolve", allow_abbrev=False)
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(beams)  # noqa: SLF001 - the hook that Beam documents
    return beams


def _units(beam_args: Sequence[str]) -> Iterator[list[str]]:
    """Each flag with the word that is its value, and each stray word by itself."""
    unit: list[str] = []
    for arg in beam_args:
        if not arg.startswith("--") and unit:
            yield [*unit, arg]
            unit = []
            continue
        if unit:
            yield unit
        unit = []
        if arg.startswith("--") and "=" not in arg and beam_flags().get(arg, True):
            unit = [arg]
        else:
            yield [arg]
    if unit:
        yield unit


def _wrong_value(unit: list[str]) -> list[Problem]:
    """What Beam would say of one of its flags, as a usage text and an exit in mid-launch."""
    name = unit[0].partition("=")[0]
    if name not in beam_flags():
        return []
    try:
        _parser().parse_known_args(unit)
    except _Refused as error:
        what = str(error).partition(": ")[2] or str(error)
        return [Problem(name, f"Beam does not take it: {what}")]
    return []
