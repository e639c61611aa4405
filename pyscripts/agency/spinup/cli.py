"""`spinup_smoke`: make an agency from nothing, observe it, and leave a signed transcript."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from agency.commandline import console, json_option, leave, uncollected
from agency.commandline import run as run_command
from agency.spinup.launch.started import hold
from agency.spinup.options import challenge_option, instance_options
from agency.spinup.targets.registry import TARGETS, Chosen, opener, refuse_others, target_options

DEFAULT_OUTPUT = Path("artifacts/boot_transcript.json")
# A guest's image may have to be built first.
TIMEOUTS_S = {"local": 180.0, "incus": 1800.0, "ssh": 600.0}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--target",
    type=click.Choice(list(TARGETS)),
    default="local",
    show_default=True,
    help="Where the agency is: local = made of child processes here, incus = made in a throwaway "
    "machine, ssh = on a host that runs already.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT_OUTPUT,
    show_default=True,
    help="Where the transcript goes; the public key goes beside it as .pub.",
)
@instance_options
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1, max=3600),
    default=None,
    help="Seconds after which the spin-up has failed.  [default: 180; incus 1800; ssh 600]",
)
@challenge_option
@click.option("--fail-fast", is_flag=True, help="End at the first mandatory probe that fails.")
@target_options
@json_option
def spinup_smoke(
    target: str,
    output: Path,
    instance: Path,
    ports: dict[str, int],
    age_key: Path | None,
    timeout_s: float | None,
    challenge: str | None,
    fail_fast: bool,
    chosen: Chosen,
    as_json: bool,
) -> int:
    """Make an agency from nothing, drive it as people would, and sign what was seen.

    Exit status: 0 the transcript says PASSED and verifies, 1 it says FAILED, 2 wrong usage,
    3 something needed first is missing (then there is no transcript), 4 internal error,
    130 interrupted before the run began.
    """
    refuse_others(click.get_current_context(), target)
    # The namespace is entered before anything else: it needs a process with one thread.
    from agency import quarantine

    network = quarantine.Quarantine("none", "--no-namespace given")
    if target == "local" and chosen["namespace"]:
        network = quarantine.enter()
    with uncollected():
        from agency.spinup.pipeline import report, spin_up
        from agency.spinup.target import Options

    options = Options(
        target=target,
        output=output,
        instance=instance,
        ports=ports,
        age_key=age_key,
        timeout_s=timeout_s or TIMEOUTS_S[target],
        fail_fast=fail_fast,
        challenge=challenge,
        profile=chosen["parts"] if target == "incus" else (),
    )
    printer = console(stderr=as_json)
    outcome = asyncio.run(spin_up(options, network, printer, opener(target, chosen)))
    report(outcome, printer, as_json=as_json)
    return outcome.exit_code


def main() -> None:
    """Run the command, in the copy that the console script made (spinup/launch)."""
    copy = hold()
    try:
        status = run_command(spinup_smoke, sys.argv[1:], prog_name="spinup_smoke")
    finally:
        if copy is not None:
            copy.remove()
    leave(status)


if __name__ == "__main__":
    main()
