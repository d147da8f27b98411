"""Problems: one form, all of them at once."""

import pickle

from schemas.problem import Problem, ProblemsFound


def test_a_problem_reads_as_one_line():
    """Where, what, and the remedy where there is one."""
    assert str(Problem("--flag", "is wrong", "do this")) == "--flag: is wrong (do this)"
    assert str(Problem("--flag", "is wrong")) == "--flag: is wrong"


def test_problems_are_raised_together_and_in_order():
    """One line each; the problems themselves are at hand, and survive the way between workers."""
    problems = (Problem("a", "one"), Problem("b", "two", "mend it"))
    error = ProblemsFound(iter(problems))
    assert str(error) == "a: one\nb: two (mend it)"
    assert error.problems == problems
    assert pickle.loads(pickle.dumps(error)).problems == problems
