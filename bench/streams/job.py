"""The graph that is measured: numbers at a rate, rows of them, and the job's own Java sink."""

import argparse
import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.external import ExternalTransform, ImplicitSchemaPayloadBuilder

from bench.streams.rows import MakeRow
from pipeline.storage_write import Slices, WriteWithBeam
from schemas.table_file import shipped

_SEQUENCE = "beam:external:java:generate_sequence:v1"


def main(argv: list[str]) -> None:
    """Runs until it is cancelled at the engine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, required=True, help="numbers a second")
    parser.add_argument("--seconds", type=int, required=True, help="triggering frequency")
    parser.add_argument("--streams", type=int, required=True, help="of the table; 0: auto-sharding")
    parser.add_argument("--dataset", required=True, help="project.dataset")
    parser.add_argument("--expansion", required=True, help="host:port")
    given, flags = parser.parse_known_args(argv)
    pipeline = beam.Pipeline(options=PipelineOptions(flags))
    numbers = ImplicitSchemaPayloadBuilder(
        {"start": 0, "elements_per_period": given.rate, "period": 1_000}
    )
    sink = WriteWithBeam(
        shipped(),
        given.dataset,
        slices=Slices(given.seconds, given.streams or None),
        expansion=lambda: given.expansion,
    )
    rows = pipeline | ExternalTransform(_SEQUENCE, numbers, given.expansion) | beam.ParDo(MakeRow())
    _ = rows | "WriteRows" >> sink
    pipeline.run().wait_until_finish()


if __name__ == "__main__":
    main(sys.argv[1:])
