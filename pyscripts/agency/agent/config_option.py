"""Option `--config` of the commands that a runtime or a unit starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def config_option(said: str) -> Callable[[F], F]:
    """Declare the option, required; `said` is its help."""
    return click.option(
        "--config", "config_file", type=click.Path(path_type=Path), required=True, help=said
    )
