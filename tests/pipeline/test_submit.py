"""What Beam cannot make ready is a sentence; an error of the program keeps its trace."""

import pytest

from pipeline.submit import submit
from schemas.problem import ProblemsFound


class Unready:
    """A pipeline that fails when it is turned into a request."""

    def __init__(self, error):
        self.error = error

    def run(self):
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("pip said no"), OSError("no space left")])
def test_what_is_given_cannot_be_made_ready(error):
    """Beam's words, and where to look."""
    with pytest.raises(ProblemsFound, match=f"nothing was started: {error}"):
        submit(Unready(error), None)


@pytest.mark.parametrize("error", [NotImplementedError(), RecursionError(), TypeError()])
def test_an_error_of_the_program_is_none_of_theirs(error):
    """It is not told as something that the user could mend."""
    with pytest.raises(type(error)):
        submit(Unready(error), None)
