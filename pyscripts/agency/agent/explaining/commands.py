"""Command `agency agent explain`: the effective policy of an agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agency.commandline import emit, json_option

if TYPE_CHECKING:
    from rich.console import Console

_FILE = click.Path(path_type=Path, dir_okay=False)
_NOBODY = "nobody"


@click.command("explain")
@click.argument("name")
@click.option(
    "--config",
    "config_file",
    type=_FILE,
    help="The proxy's configuration; default: that of the local agency.",
)
@click.option(
    "--gosuto",
    "gosuto_file",
    type=_FILE,
    help="A Gosuto file in place of the one that its gateway holds.",
)
@json_option
def explain_command(
    name: str, config_file: Path | None, gosuto_file: Path | None, as_json: bool
) -> None:
    """Show the effective policy of the agent NAME: what its gateway and the proxy hold.

    Whom it hears, what each tool is answered and by which rule, its servers, limits, models and
    budget. `agency gosuto explain` asks about one call with its arguments.
    """
    from agency.agent.explaining.effective import explained  # slow to import: only for this
    from agency.agent.explaining.finding import gosuto_of, local_config, offers_of, read_policy
    from agency.agent.proxy.config import load_config

    if gosuto_file is not None and config_file is None:
        document = read_policy(name, gosuto_file, held=False)
        told = explained(name, document, None, ())
    else:
        config = load_config(config_file or local_config())
        held = gosuto_of(name, config)
        slot = config.accounts[name].slot
        document = read_policy(name, gosuto_file or held, held=gosuto_file is None, slot=slot)
        told = explained(name, document, config, offers_of(document, held))
    emit(told, as_json=as_json, human=lambda out: _show(out, told))


def _show(out: Console, told: Mapping[str, Any]) -> None:
    from rich.text import Text

    from agency.terminal import plain

    for head, lines in _sections(told):
        out.print(Text(head, style="bold"))
        for line in lines:
            out.print(Text(f"  {plain(line)}"), soft_wrap=not out.is_terminal)


def _sections(told: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    gosuto, trust, approvals = told["gosuto"], told["trust"], told["approvals"]
    yield f"{told['agent']}: Gosuto {gosuto['sha256'][:16]}…", [gosuto["description"] or "-"]
    yield (
        "hears",
        [
            f"in {', '.join(trust['rooms']) or 'no room'}",
            f"of {', '.join(trust['senders']) or _NOBODY}",
            *(f"of the agent {n} ({p['user']})" for n, p in trust["peers"].items()),
        ],
    )
    yield "tools", [*_tools(told["tools"]), "anything else: deny"]
    if approvals is not None:
        asked = ", ".join(approvals["approvers"])
        yield "asks", [f"{asked}; a call waits {approvals['ttlSeconds']} s"]
    yield "servers", list(map(_server, told["servers"])) or ["none"]
    targets = told["messaging"]["targets"]
    yield "writes by itself to", [f"{name}: {room}" for name, room in targets.items()] or [_NOBODY]
    if told["models"] is None:
        yield "limits", [f"{name} {value}" for name, value in told["limits"].items()] or ["none"]
    else:
        yield from _models(told["models"])


def _tools(tools: list[dict[str, Any]]) -> Iterator[str]:
    width = max((len(each["tool"]) for each in tools), default=0)
    for each in tools:
        yield f"{each['tool']:{width}}  {each['answer']}"
        for rule in each["rules"]:
            when = "; ".join(f"{name} {_condition(c)}" for name, c in rule["when"].items())
            yield f"  {rule['rule']}: {rule['answer']}" + (f" if {when}" if when else "")


def _condition(condition: Mapping[str, Any]) -> str:
    ((kind, value),) = condition.items()
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    if isinstance(value, dict):
        value = " ".join(f"{name} {each}" for name, each in value.items())
    words = {"exact": "is", "prefix": "is below", "hosts": "is at", "regex": "matches"}
    return f"{words.get(kind, 'is')} {value}"


def _server(each: Mapping[str, Any]) -> str:
    tools = "has not answered yet" if each["tools"] is None else f"{each['tools']} tools"
    secrets = f", with {', '.join(each['secrets'])}" if each["secrets"] else ""
    return f"{each['name']}: {tools}{secrets} ({each['reached']})"


def _models(models: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    yield (
        "models",
        [
            f"{each['name']} ({each['upstream']} of {each['provider']}): "
            f"{each['price']['input']:g} USD in, {each['price']['output']:g} USD out a million"
            for each in models["allowed"]
        ]
        or ["none that it may ask"],
    )
    words = {
        "tokensPerDay": "tokens a day",
        "usdPerDay": "USD a day",
        "usdPerMonth": "USD a month",
        "requestsPerMinute": "requests a minute",
        "concurrentRequests": "requests at one time",
        "tokensPerRequest": "tokens of one answer",
    }
    budget = models["budget"]
    yield "budget", [f"{budget[k]:,} {w}" for k, w in words.items() if budget[k] is not None]
