"""The job, altered so that its memory can be measured in minutes; otherwise as it is.

    python -m bench.altered_job one_event ARGUMENTS OF THE JOB

`one_event`: a bundle is one event, however many wait. `no_patience`: an empty subscription is
looked at again at once, where the job waits five seconds for a message.
"""

import sys
from collections.abc import Callable

from pipeline import pull
from pipeline.launch import main


def one_event() -> None:
    """Makes each bundle one event."""
    pull.BUNDLE_MESSAGES = 1


def no_patience() -> None:
    """Makes each poll return at once."""
    take = pull.Puller.take

    def take_at_once(self: pull.Puller, wait: float) -> list[pull.Pulled]:  # noqa: ARG001
        return take(self, 0.0)

    pull.Puller.take = take_at_once  # type: ignore[method-assign]


ALTERATIONS: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (one_event, no_patience)
}

if __name__ == "__main__":
    ALTERATIONS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
