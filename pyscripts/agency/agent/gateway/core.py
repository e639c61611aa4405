"""Gateway of one agent: its policy, held secrets, servers and dispatcher, as one state."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

from agency.agent.gateway.calls.approvals import (
    Approvals,
    DecisionRefusedError,
    Question,
    TooManyApprovalsError,
)
from agency.agent.gateway.calls.auditing import Auditor
from agency.agent.gateway.calls.dispatch import Dispatcher
from agency.agent.gateway.calls.journal import Journal
from agency.agent.gateway.calls.judging import Policy
from agency.agent.gateway.servers.acceptance import Acceptances, Difference
from agency.agent.gateway.servers.fence import fence_of
from agency.agent.gateway.servers.running import Pace
from agency.agent.gateway.servers.servers import Servers
from agency.canonical import canonical_json, sha256_hex
from agency.clock import Clock, new_id
from agency.errors import AgencyError, BadInputError
from agency.files import private_directory, write_atomically
from agency.gosuto import Document, read_canonical
from agency.protocols import ApprovalDecision, GatewayStatus
from agency.secrets import MIN_LENGTH, SecretValue
from agency.settings import read_bounded

_MAX_DOCUMENT = 512 * 1024

_log = logging.getLogger(__name__)


def read_policy(agent: str, content: bytes) -> Policy:
    """Read the document that decides for an agent.

    Raises:
        BadInputError: it is no Gosuto of this agent.
    """
    sha256 = sha256_hex(content)
    document = read_canonical(content, sha256)
    if document.metadata.name != agent:
        raise BadInputError(f"this is the Gosuto of {document.metadata.name}, not of {agent}")
    return Policy(document, sha256)


@dataclass(slots=True)
class Gateway:
    """State of a gateway; `directory` is this user's alone."""

    agent: str
    directory: Path
    clock: Clock
    auditor: Auditor
    tokens: tuple[SecretValue, ...] = ()
    pace: Pace = field(default_factory=Pace)
    hidden: tuple[Path, ...] = ()  # from its servers, besides its own directory
    incarnation: str = field(default_factory=lambda: new_id("gw"))
    reason: str = "no policy was given yet"
    secrets_sha256: str | None = None
    journal: Journal = field(init=False)
    approvals: Approvals = field(init=False)
    servers: Servers = field(init=False)
    dispatcher: Dispatcher = field(init=False)
    # One decision at a time: what was looked at before its row is so when it is done.
    _deciding: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        """Read what a predecessor left.

        Raises:
            AgencyError: the journal or the accepted lists cannot be read.
        """
        private_directory(self.directory)
        self.journal = Journal(self.directory / "calls.jsonl")
        self.approvals = Approvals(self.journal, self.clock)
        acceptances = Acceptances(self.directory / "accepted.json")
        self.servers = Servers(
            self.directory / "servers",
            fence_of(self.directory, *self.hidden),
            acceptances,
            self.clock,
            self._tools_changed,
            self.pace,
            self.tokens,
        )
        self.dispatcher = Dispatcher(
            self.servers, self.journal, self.approvals, self.auditor, self.clock
        )

    async def start(self) -> None:
        """Tell of calls that a predecessor left, and take up the policy that it had."""
        await self.dispatcher.tell_left()
        path = self._policy_file
        if not path.exists():
            return
        try:
            content = read_bounded(path, most=_MAX_DOCUMENT, what="the policy", private=True)
            policy = read_policy(self.agent, content)
        except AgencyError as error:
            self._no_policy(error.message)
            return
        self._decide_by(policy)

    def set_policy(self, content: bytes) -> None:
        """Decide by this document from now on, and after a restart.

        Raises:
            BadInputError: it is no Gosuto of this agent: from now on no call is made.
            PrerequisiteError: it cannot be kept: from now on no call is made.
        """
        try:
            policy = read_policy(self.agent, content)
            write_atomically(self._policy_file, content, mode=0o600)
        except AgencyError as error:
            self._policy_file.unlink(missing_ok=True)  # nor after a restart
            self._no_policy(error.message)
            raise
        self._decide_by(policy)

    def set_secrets(self, values: dict[str, SecretValue], sha256: str) -> None:
        """Hold exactly these secrets for the servers.

        Raises:
            BadInputError: one is too short to be found in a result; the old ones are kept.
        """
        short = sorted(n for n, v in values.items() if len(v.reveal().strip()) < MIN_LENGTH)
        if short:
            raise BadInputError(
                f"secrets with fewer than {MIN_LENGTH} characters: {', '.join(short)}",
                hint="give them longer values: they are struck out of what tools answer",
            )
        self.servers.hold(values)
        self.secrets_sha256 = sha256
        self.servers.apply(self._document)

    async def decide(self, approval: str, decision: ApprovalDecision) -> None:
        """Take a person's decision on a call, or on the changed tools of a server.

        Raises:
            DecisionRefusedError: this person may not decide, or the decision does not count.
            NotRecordedError: it cannot be put on record; nothing was decided.
        """
        document = self._document
        approvers = (
            () if document is None or document.approvals is None else (document.approvals.approvers)
        )
        if decision.decided_by not in approvers:
            raise DecisionRefusedError(
                403, "policy", "this person is not under approvals.approvers"
            )
        async with self._deciding:
            asked = self.approvals.check(approval, decision)
            row = {"approval": approval, "tool": asked.tool, "digest": decision.digest,
                   "decision": decision.decision, "by": decision.decided_by}  # fmt: skip
            await self.auditor.before("approval.decided", **row)
            try:
                decided = self.approvals.decide(approval, decision)
            except (DecisionRefusedError, OSError):  # it ended, or the disk filled, meanwhile
                await self.auditor.after("approval.not-decided", **row)
                raise
        if decided.about == "tools" and decided.state == "approved":
            self._accept_decided(decided.tool, decided.digest)
            self.approvals.use(approval, decided.digest)

    async def accept(self, server: str, list_sha256: str) -> bool:
        """Accept the tools that a server offers now; True if they had this digest.

        Raises:
            NotRecordedError: it cannot be put on record; nothing was accepted.
        """
        async with self._deciding:
            if not self.servers.offers(server, list_sha256):
                return False
            await self.auditor.before("server.accepted", server=server, tools=list_sha256)
            done = False
            try:
                done = self.servers.accept(server, list_sha256)
            finally:
                if not done:  # the server changed them meanwhile, or the disk is full
                    await self.auditor.after(
                        "server.not-accepted", server=server, tools=list_sha256
                    )
        if done:
            self.approvals.drop_tools(f"{server}/*")
        return done

    def status(self) -> GatewayStatus:
        """Tell the state of the gateway and its servers."""
        policy, servers = self.dispatcher.policy, self.servers.reports()
        starting = any(each.health == "starting" for each in servers)
        health = "failing" if policy is None else "starting" if starting else "ok"
        return GatewayStatus(
            agent=self.agent,
            incarnation=self.incarnation,
            health=health,
            reason=self.reason[:200],
            policy_sha256=None if policy is None else policy.sha256,
            secrets_sha256=self.secrets_sha256,
            servers=servers,
        )

    async def close(self) -> None:
        """End calls, then servers, then the journal."""
        await self.dispatcher.close()
        await self.servers.close()
        await self.auditor.close()
        self.journal.close()

    @property
    def _policy_file(self) -> Path:
        return self.directory / "policy.json"

    @property
    def _document(self) -> Document | None:
        policy = self.dispatcher.policy
        return None if policy is None else policy.document

    def _decide_by(self, policy: Policy) -> None:
        self.reason = ""
        self.dispatcher.set_policy(policy)
        self.servers.apply(policy.document)
        _log.info("policy", extra={"fields": {"sha256": policy.sha256}})

    def _no_policy(self, why: str) -> None:
        self.reason = f"no call is made: {why}".splitlines()[0]
        self.dispatcher.set_policy(None)
        _log.error("the policy cannot be used, so that no call is made: %s", why)

    def _tools_changed(self, server: str, list_sha256: str, change: Difference) -> None:
        """Ask a person to look at another list of tools, if the policy names anybody."""
        policy = self.dispatcher.policy
        if policy is None or policy.document.approvals is None:
            return
        name = f"{server}/*"
        digest = _change_digest(name, list_sha256, policy.sha256)
        self.approvals.drop_tools(name, but=digest)
        question = Question("tools", name, digest, policy.sha256, None, change.text(), None)
        try:
            self.approvals.ask(question, policy.document.approvals.ttl_seconds)
        except (TooManyApprovalsError, OSError) as error:
            _log.error("nobody is asked about the tools of %s: %s", server, error)

    def _accept_decided(self, name: str, digest: str) -> None:
        """Accept the list that was looked at; if the server changed it again, another is asked."""
        policy, server = self.dispatcher.policy, name.removesuffix("/*")
        for each in self.servers.reports():
            current = each.list_sha256 or ""
            looked_at = policy and digest == _change_digest(name, current, policy.sha256)
            if each.name == server and looked_at:
                self.servers.accept(server, current)


def _change_digest(name: str, list_sha256: str, policy: str) -> str:
    return sha256_hex(canonical_json({"tools": name, "list": list_sha256, "policy": policy}))
