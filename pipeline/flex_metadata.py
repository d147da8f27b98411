"""The Flex Template's metadata, made of the options' own declarations.

`python -m pipeline.flex_metadata > deploy/flex/metadata.json`. The fields are those of
TemplateMetadata and ParameterMetadata in Dataflow's API, v1b3. Dataflow refuses a parameter that is
not declared, and one that its patterns do not match, before it starts the launcher.
"""

import json
import sys
from dataclasses import dataclass
from typing import Any

from pipeline.options import OPTIONS, Option

NAME = "Issues into BigQuery"
DESCRIPTION = (
    "Reads Firestore changes and manual issues from Pub/Sub and appends them to BigQuery tables, "
    "exactly once from the subscription to the tables. What cannot become a row goes to a "
    "dead-letter topic."
)


@dataclass(frozen=True, slots=True)
class BeamFlag:
    """A flag of Beam's own that the template has as a parameter.

    Args:
        name: Without the dashes.
        label: What it is called in a form.
        help: One sentence.
        kind: ParameterType of Dataflow's API.
    """

    name: str
    label: str
    help: str
    kind: str = "TEXT"


# What the launch request has fields for (machine type, network, labels, ...) is no parameter: the
# launcher hands that on by itself, and a parameter of the same name could take its place.
BEAM_FLAGS = (
    BeamFlag(
        "sdk_container_image",
        "Python workers' image",
        "Image of the Python workers. Default: the template's own image, by the name under which "
        "it was built.",
    ),
    BeamFlag(
        "sdk_harness_container_image_overrides",
        "Java workers' image",
        "Pattern of an image's name and the image that takes its place, such as "
        ".*beam_java.*,IMAGE. Default: the image of the Java workers that was built with the "
        "template's own.",
    ),
    BeamFlag(
        "dataflow_service_options",
        "Dataflow service options",
        "Options of the Dataflow service, parted by commas.",
    ),
    BeamFlag(
        "number_of_worker_harness_threads",
        "Threads of a Python worker",
        "Threads of each Python worker process; fewer take less memory. Default: Dataflow's.",
        "NUMBER",
    ),
)


def metadata() -> dict[str, Any]:
    """The template's metadata, as JSON's own types."""
    return {
        "name": NAME,
        "description": DESCRIPTION,
        "streaming": True,
        # `defaultStreamingMode` is only for templates that support both modes. This one does not:
        # at least once would double rows.
        "supportsAtLeastOnce": False,
        "supportsExactlyOnce": True,
        "parameters": [
            *(_of_option(option) for option in OPTIONS if option.in_template),
            *(_of_beam(flag) for flag in BEAM_FLAGS),
        ],
    }


def _of_option(option: Option) -> dict[str, Any]:
    parameter = {
        "name": option.name,
        "label": option.label,
        "helpText": option.described(),
        "isOptional": True,
        "paramType": option.kind,
    }
    if pattern := pattern_of(option):
        parameter["regexes"] = [pattern]
    if option.choices:
        parameter["enumOptions"] = [{"value": choice} for choice in option.choices]
    if option.default is not None and "{project}" not in option.default:
        parameter["defaultValue"] = option.default
    return parameter


def pattern_of(option: Option) -> str:
    """An option's pattern, '' for none; the same whether the whole is matched or a part sought."""
    inner = "|".join(option.choices) or option.regex
    return f"^({inner})$" if inner else ""


def _of_beam(flag: BeamFlag) -> dict[str, Any]:
    return {
        "name": flag.name,
        "label": flag.label,
        "helpText": flag.help,
        "isOptional": True,
        "paramType": flag.kind,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(metadata(), indent=2) + "\n")
