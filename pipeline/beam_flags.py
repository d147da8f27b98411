"""Which of the command line's flags are Beam's, and which of them the job does not hand on."""

import argparse
import difflib
from collections.abc import Sequence
from functools import cache

from apache_beam.options.pipeline_options import PipelineOptions

from schemas.problem import Problem


def beam_problems(beam_args: Sequence[str], own: Sequence[str]) -> list[Problem]:
    """What may not reach Beam: leftovers, unknown flags, and those that would lose or double data.

    Args:
        beam_args: What the job's own parser left.
        own: The job's own flags, with their dashes, one of which may have been meant.
    """
    problems = []
    names = {arg.partition("=")[0] for arg in beam_args if arg.startswith("--")}
    if "--input_topic" in names:
        names.remove("--input_topic")
        problems.append(
            Problem(
                "--input_topic",
                "the job reads a subscription: a topic read misses what came before",
                "give --input_subscription",
            )
        )
    if "--no_pipeline_type_check" in names:
        problems.append(
            Problem("--no_pipeline_type_check", "breaks Beam's typed rows", "leave it out")
        )
    beams = beam_flags()
    for name in sorted(names - beams.keys()):
        close = difflib.get_close_matches(name, [*beams, *own], 1)
        remedy = f"did you mean {close[0]}?" if close else "--help lists the job's own"
        problems.append(Problem(name, "is neither the job's flag nor Beam's", remedy))
    problems += [
        Problem(word, "is no flag, nor the value of one", "flags begin with --")
        for word in _stray(beam_args)
    ]
    return problems


def _stray(beam_args: Sequence[str]) -> list[str]:
    """The words that no flag before them takes as a value."""
    stray = []
    takes_value = False
    for arg in beam_args:
        if arg.startswith("--"):
            takes_value = "=" not in arg and beam_flags().get(arg, True)
        elif not takes_value:
            stray.append(arg)
        else:
            takes_value = False
    return stray


@cache
def beam_flags() -> dict[str, bool]:
    """Every flag of Beam's own, and whether it takes a value.

    One that Beam does not know it would only log and drop.
    """
    beams = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(beams)  # noqa: SLF001 - the hook that Beam documents
    return {
        flag: action.nargs != 0
        for action in beams._actions  # noqa: SLF001
        for flag in action.option_strings
    }
