"""Figures: quantiles."""

import pytest

from bench.report import quantile


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([7], 0.5, 7),
        ([2, 1], 0.5, 1),
        ([3, 1, 2], 0.5, 2),
        ([4, 2, 3, 1], 0.5, 2),
        (range(1, 101), 0.5, 50),
        (range(1, 101), 0.99, 99),
        (range(1, 101), 1.0, 100),
        (range(1, 11), 0.99, 10),
        (range(1, 11), 0.01, 1),
    ],
)
def test_a_quantile_is_the_nearest_rank(values, share, expected):
    """The least value that so large a share of the values does not exceed."""
    assert quantile(list(values), share) == expected
