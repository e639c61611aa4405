"""Targets by name: the options of each, and the target itself, imported when it is used."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from agency.errors import UsageError
from agency.spinup.options import Decorator
from agency.spinup.targets.incus.options import OPTIONS as INCUS
from agency.spinup.targets.local.options import OPTIONS as LOCAL
from agency.spinup.targets.ssh.options import OPTIONS as SSH

if TYPE_CHECKING:
    from agency.spinup.target import Opener

TARGETS: Mapping[str, Mapping[str, Decorator]] = {"local": LOCAL, "incus": INCUS, "ssh": SSH}
# Options of every command that makes an agency, which only some targets have a use for.
_SHARED: Mapping[str, tuple[str, ...]] = {"ports": ("local",)}

Chosen = Mapping[str, Any]  # the values of all targets' options, by parameter


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of all targets; the command gets their values as one `chosen` (Chosen)."""
    options = {name: option for own in TARGETS.values() for name, option in own.items()}

    @functools.wraps(command)
    def packed(**values: Any) -> Any:
        chosen = {name: values.pop(name) for name in options}
        return command(chosen=chosen, **values)

    wrapped: Callable[..., Any] = packed
    for option in reversed(options.values()):
        wrapped = option(wrapped)
    return wrapped


def refuse_others(context: click.Context, target: str) -> None:
    """Refuse an option that the target has no use for: who gives it means another target.

    Raises:
        UsageError: there is one.
    """
    for parameter in context.command.params:
        name = str(parameter.name)
        owners = tuple(each for each, own in TARGETS.items() if name in own)
        targets = owners or _SHARED.get(name, (target,))
        if target in targets:
            continue
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(
                f"--target {target} has no use for it",
                where=" or ".join((*parameter.opts, *parameter.secondary_opts)),
                hint=f"leave it out, or say --target {' or '.join(targets)}",
            )


def opener(target: str, chosen: Chosen) -> Opener:
    """Return the context manager that opens a target with the options that were chosen.

    Raises:
        UsageError: there is no such target, or what it needs to know was not said.
    """
    if target == "local":
        from agency.spinup.targets.local.target import open_local

        return open_local
    if target == "incus":
        from agency.spinup.targets.incus.config import config_of
        from agency.spinup.targets.incus.target import open_incus

        return functools.partial(open_incus, config=config_of(chosen))
    if target == "ssh":
        from agency.spinup.targets.ssh.config import config_of as config_of_host
        from agency.spinup.targets.ssh.target import open_ssh

        return functools.partial(open_ssh, config=config_of_host(chosen))
    raise UsageError(f"there is no target {target!r}", hint="use local, incus or ssh")
