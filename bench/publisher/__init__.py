"""The publisher under load: `python -m bench.publisher` compares it with other ways to build it."""
