"""A job's step names, by which the service carries state over from a job to the one that replaces
it: those of the graph, and what a replacement would lose.
"""

import difflib
import json
import shlex
from collections.abc import Collection, Mapping

from apache_beam.portability.api import beam_runner_api_pb2

from schemas.problem import Problem

UPDATE, MAPPING = "--update", "--transform_name_mapping"


def step_names(graph: beam_runner_api_pb2.Pipeline) -> frozenset[str]:
    """The full names of all steps, `WriteRows/Write issues_stream/...`, without the graph's own."""
    transforms = graph.components.transforms
    return frozenset(
        each.unique_name for key, each in transforms.items() if key not in graph.root_transform_ids
    )


def update_problems(
    running: Collection[str] | None, new: Collection[str], mapping: Mapping[str, str]
) -> list[Problem]:
    """What an update would lose, or map onto nothing.

    The service takes a mapping onto a step that is not there without a word; a step that is gone it
    finds itself, minutes later. A mapping goes by prefixes, and '' marks a step as removed on
    purpose (Dataflow's `LaunchTemplateParameters` and Java's `getTransformNameMapping`).

    Args:
        running: Names of the job that is replaced; None where they are not known.
        new: Names of the job that replaces it.
        mapping: Old names, or prefixes of them, to new ones.
    """
    problems = [
        Problem(
            MAPPING,
            f"maps {old} onto {target}, and the new job has no such step",
            _near(target, new),
        )
        for old, target in mapping.items()
        if target and target not in new
    ]
    if running is None:
        return problems
    problems += [
        Problem(MAPPING, f"maps {old}, and the running job has no such step", _near(old, running))
        for old in mapping
        if old not in running
    ]
    lost = {name for name in running if not _kept(name, new, mapping)}
    if tops := sorted(name for name in lost if not any(_inside(name, each) for each in lost)):
        added = set(new) - set(running) - set(mapping.values())
        whole = dict(mapping) | {name: _nearest(name, added) for name in tops}
        problems.append(
            Problem(
                UPDATE,
                "the running job has steps that the new one has not, and what they hold would be "
                f"lost: {', '.join(tops)}",
                "where they have other names now, or none: "
                f"{MAPPING} {shlex.quote(json.dumps(whole))}",
            )
        )
    return problems


def _kept(name: str, new: Collection[str], mapping: Mapping[str, str]) -> bool:
    prefixes = [old for old in mapping if name == old or _inside(name, old)]
    if not prefixes:
        return name in new
    longest = max(prefixes, key=len)
    target = mapping[longest]
    # A target that is not there has its own problem; it need not be told once more.
    return not target or target not in new or target + name[len(longest) :] in new


def _inside(name: str, prefix: str) -> bool:
    return name.startswith(f"{prefix}/")


def _nearest(name: str, names: Collection[str]) -> str:
    return next(iter(difflib.get_close_matches(name, names, 1)), "")


def _near(name: str, names: Collection[str]) -> str:
    close = _nearest(name, names)
    return f"did you mean {close}?" if close else "docs/dataflow.md says how steps are named"
