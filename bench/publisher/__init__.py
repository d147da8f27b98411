"""The publisher under load: beside other ways to build it, under faults, and beyond its capacity.

`python -m bench.publisher` compares, `python -m bench.publisher.chaos` harms, and
`python -m bench.publisher.overload` floods. One load client serves the three.
"""
