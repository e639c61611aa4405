"""Mail as the second way: the real Alertmanager, and a mail server that takes it by TLS alone."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from agency import ports
from agency.spinup.targets.incus.parts.edge.certificate import make_certificates

USER = "agency@example.org"


@dataclass
class MailServer:
    """A mail server with one account; it keeps what it was sent, and who tried to log in."""

    port: int
    password: str
    received: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    attempts: list[bool] = field(default_factory=list)

    async def handle_DATA(  # noqa: N802 - aiosmtpd names it
        self, _server: Any, _session: Any, envelope: Envelope
    ) -> str:
        content = envelope.original_content or b""
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.received.append((list(envelope.rcpt_tos), mail))
        return "250 taken"

    def log_in(
        self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        right = (data.login, data.password) == (USER.encode(), self.password.encode())
        self.attempts.append(right)
        return AuthResult(success=right, handled=False)


Serve = Callable[..., MailServer]


@pytest.fixture
def serve(tmp_path: Path, monitoring_alone: Any) -> Iterator[Serve]:
    """Start a mail server, and tell Alertmanager of it."""
    running: list[Controller] = []

    def start(
        *, tls: bool = True, password: str | None = None, foreign: bool = False
    ) -> MailServer:
        made = make_certificates("localhost", datetime.now(UTC))
        other = make_certificates("localhost", datetime.now(UTC))
        paths = {name: tmp_path / name for name in ("authority", "chain", "key", "password")}
        paths["authority"].write_text((other if foreign else made).authority)
        paths["chain"].write_text(made.chain)
        paths["key"].write_text(made.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(paths["chain"], paths["key"])
        server = MailServer(ports.assign(("mail",), {})["mail"], secrets.token_urlsafe(16))
        paths["password"].write_text(password or server.password)
        running.append(
            Controller(
                server,
                hostname="localhost",
                port=server.port,
                tls_context=context if tls else None,
                require_starttls=tls,
                authenticator=server.log_in,
                auth_required=tls,
                auth_require_tls=tls,
                auth_exclude_mechanism=["LOGIN"],  # its questions are not those of mail servers
            )
        )
        running[-1].start()
        monitoring_alone.mail_by(
            server.port, password=paths["password"], authority=paths["authority"]
        )
        monitoring_alone.configure()
        monitoring_alone.start_alertmanager()
        return server

    yield start
    for each in running:
        each.stop()


def ring(monitoring: Any, wait_for: Any) -> None:
    """An alert about the control plane, which is not there to tell it."""
    wait_for(monitoring.answers, "answer of Alertmanager", 20)
    labels = ("severity=critical", "component=control-plane")
    monitoring.amtool("alert", "add", "ByMail", *labels, "--annotation=summary=a trial")


def test_an_alert_about_the_control_plane_is_mailed(
    monitoring_alone: Any, serve: Serve, wait_for: Any
) -> None:
    server = serve()
    ring(monitoring_alone, wait_for)
    ((recipients, mail),) = wait_for(lambda: list(server.received), "mail", 40)
    assert recipients == ["ops@example.org", "night@example.org"]
    assert (mail["From"], mail["To"]) == (USER, "ops@example.org, night@example.org")
    assert "ByMail" in mail["Subject"]
    body = mail.get_body(("html", "plain"))
    assert body is not None
    assert "a trial" in body.get_content()
    assert server.attempts == [True]
    assert monitoring_alone.failed("email") == 0


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("how", "attempts"),
    [
        ({"password": "another"}, {False}),
        # Whoever stands between could read the password: it is not told.
        ({"tls": False}, set()),
        ({"foreign": True}, set()),
    ],
    ids=["wrong password", "no TLS", "foreign certificate"],
)
def test_what_cannot_be_mailed_is_counted(
    how: dict[str, Any],
    attempts: set[bool],
    monitoring_alone: Any,
    serve: Serve,
    wait_for: Any,
) -> None:
    """The rule AlertsDoNotArrive asks for that number."""
    server = serve(**how)
    ring(monitoring_alone, wait_for)
    wait_for(lambda: monitoring_alone.failed("email") >= 1, "failure", 40)
    assert server.received == []
    assert {*server.attempts} == attempts
    assert server.password not in (monitoring_alone.place / "alertmanager.log").read_text()
