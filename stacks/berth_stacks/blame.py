"""What a component refuses, said of the setting that it comes from."""

import contextlib
from collections.abc import Iterator, Mapping

from berth_components import ArgumentError

from berth_stacks.component_rules import camel, camel_words
from berth_stacks.errors import Path, Problem, SettingsError
from berth_stacks.load import Loaded


@contextlib.contextmanager
def blame(loaded: Loaded, group: Path, others: Mapping[str, Path] | None = None) -> Iterator[None]:
    """Turn an `ArgumentError` into a `SettingsError` with file and line.

    Args:
        loaded: whose settings.
        group: the settings that the component's args are made from.
        others: settings elsewhere, by the argument that is made from them.

    Raises:
        SettingsError: the component refused an argument.
    """
    try:
        yield
    except ArgumentError as error:
        first, *rest = camel(error.argument)
        place = (others or {}).get(error.argument.split(".")[0].split("[")[0])
        path = (*place, *rest) if place else group if first in {"name", "opts"} else (*group, first, *rest)
        # A value is shown as it was given; only sentences name arguments.
        given = error.given if "'" in error.given else camel_words(error.given)
        problem = Problem(path, given, camel_words(error.allowed), camel_words(error.remedy))
        raise SettingsError(loaded.name, [(loaded.layers.where(path), problem)]) from None
