"""The job: options, engines, the graph, and what reads and writes at its ends."""
