"""The graph, as design and README draw it: every runner's parts come from its Engine."""

import apache_beam as beam

from pipeline.engines import Engine
from pipeline.options import Settings
from transforms.attempt import FAILED
from transforms.decode import EVENTS, DecodeEvents
from transforms.shape import ROWS, ShapeRows


def build(pipeline: beam.Pipeline, settings: Settings, engine: Engine) -> None:
    """Adds the job's steps to a pipeline.

    Step names are the same on every engine, since a running job is updated by them. The publish is
    applied to each failed output by itself: a Flatten would break the stage apart on an engine
    whose acknowledgements wait for the end of the stage.

    Args:
        pipeline: To build on.
        settings: What to read and write.
        engine: Whose parts to take.
    """
    messages = pipeline | "ReadMessages" >> engine.read_messages(settings)
    fresh = messages | "Deduplicate" >> engine.deduplicate(settings)
    decoded = fresh | "DecodeEvents" >> DecodeEvents()
    shaped = decoded[EVENTS] | "ShapeRows" >> ShapeRows(settings.tables, settings.unmatched)
    written = shaped[ROWS] | "WriteRows" >> engine.write_rows(settings)

    decoded[FAILED] | "PublishDeadLettersOfDecode" >> engine.dead_letters(settings)
    shaped[FAILED] | "PublishDeadLettersOfShape" >> engine.dead_letters(settings)
    written[FAILED] | "PublishDeadLettersOfWrite" >> engine.dead_letters(settings)
