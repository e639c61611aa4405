"""Options of `--target local`; light, since every spin-up reads them."""

from __future__ import annotations

from collections.abc import Mapping

import click

from agency.spinup.options import Decorator

# By the name of the parameter.
OPTIONS: Mapping[str, Decorator] = {
    "namespace": click.option(
        "--namespace/--no-namespace",
        default=True,
        show_default=True,
        help="Run a local agency inside a network namespace with only loopback.",
    ),
}
