"""One agency whose agent pm becomes what each template says; `make test-agents` fetches its tools.

Where a tool is not there, the tests are skipped; with AGENCY_REQUIRE_TEMPLATES they fail.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import running_gitea
from background import in_background
from running_gitea import Gitea
from scripted_model import scripted
from templating import Site, Staff, browser_is_here, browser_program, site
from vaulting import master_key

from working import audit_log, proxy_process


def needs(there: bool, what: str) -> None:
    if there:
        return
    if os.environ.get("AGENCY_REQUIRE_TEMPLATES"):
        pytest.fail(f"{what} is not there: make test-agents")
    pytest.skip(f"{what} is not there: make test-agents gets it")


@pytest.fixture(scope="module")
def staff(homeserver: Any, make_shared_control: Callable[..., Any]) -> Iterator[Staff]:
    """The agency, with its agent started under a Gosuto that allows nothing."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="work-")))
        model = stack.enter_context(in_background(scripted()))
        audit = stack.enter_context(in_background(audit_log(place)))
        (homeserver.credentials / "vault-master-key").write_text(master_key())
        control = make_shared_control(
            homeserver.credentials,
            homeserver_url=homeserver.url,
            listen_port=homeserver.appservice_port,
            operators=["@alice:agency.example", "@bob:agency.example"],
        )
        state_dir = Path(control.config["state_dir"])
        url = stack.enter_context(proxy_process(place, state_dir, model.url))
        tokens = str(state_dir / "model-tokens")
        control.config["models"] = {"url": url, "tokens": tokens, "audit_socket": str(audit)}
        for each in control.config["agents"]:
            if each["name"] == "pm":
                each["program"] = {"model": "small"}
        programs = place / "bin"
        programs.mkdir()
        if browser_is_here():
            browser_program(programs)
        made = Staff(homeserver, control, model, place)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("PATH", f"{programs}:{os.environ['PATH']}")
            made.set_up({name: homeserver.create_user(name) for name in ("alice", "bob")})
        made.become("cron-agent", task="Nothing yet.", schedule="0 0 29 2 *")
        made.start()
        yield made
        control.stop()


@pytest.fixture
def page() -> Iterator[Site]:
    needs(browser_is_here(), "the browser")
    with site() as made:
        yield made


@pytest.fixture(scope="module")
def gitea() -> Iterator[Gitea]:
    needs(running_gitea.PROGRAM.exists(), "Gitea")
    with running_gitea.running() as made:
        yield made
