"""Variables of this process's environment, set for a while."""

import os
from collections.abc import Mapping


class Environment:
    """Sets variables, and puts back what was there before."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}

    def set(self, variables: Mapping[str, str]) -> None:
        """Sets them; once, until they are restored."""
        self._before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)

    def restore(self) -> None:
        """Puts back what was there; nothing where nothing was set."""
        before, self._before = self._before, {}
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
