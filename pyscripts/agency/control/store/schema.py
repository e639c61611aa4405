"""The tables of the control plane's store.

Times are milliseconds since the epoch unless a column says otherwise. The audit log keeps RFC 3339
text, because people and other programs read it. The tables suit both SQLite and PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from agency.store import Schema

# Every revision that this code can upgrade from, oldest first.
SCHEMA = Schema(
    "agency.control.store:migrations",
    (
        "0001",
        "0002",
        "0003",
        "0004",
        "0005",
        "0006",
        "0008",
        "0007",
        "0010",
        "0009",
        "0011",
        "0012",
    ),
)
REVISION = SCHEMA.newest

metadata = MetaData()

# SQLite gives out row ids only for INTEGER PRIMARY KEY.
_Sequence = BigInteger().with_variant(Integer(), "sqlite")

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

agents = Table(
    "agents",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("desired", String(16), nullable=False),
    Column("project", Text),
    Column("observed", String(16)),
    Column("handle", String(255)),
    Column("changed_ts", BigInteger, nullable=False),
    Column("observed_ts", BigInteger),
)

transactions = Table(
    "transactions",
    metadata,
    Column("txn_id", String(255), primary_key=True),
    Column("received_ts", BigInteger, nullable=False),
)
Index("transactions_received", transactions.c.received_ts)

inbox = Table(
    "inbox",
    metadata,
    Column("sequence", _Sequence, primary_key=True, autoincrement=True),
    Column("event_id", String(255), nullable=False, unique=True),
    Column("room_id", String(255), nullable=False),
    Column("sender", String(255), nullable=False),
    Column("origin_ts", BigInteger, nullable=False),
    Column("received_ts", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("trace", String(64), nullable=False),
    sqlite_autoincrement=True,
)
Index("inbox_state", inbox.c.state, inbox.c.sequence)

outbox = Table(
    "outbox",
    metadata,
    Column("sequence", _Sequence, primary_key=True, autoincrement=True),
    Column("txn_id", String(255), nullable=False, unique=True),
    Column("room_id", String(255), nullable=False),
    Column("as_user", String(255), nullable=False),
    Column("content", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_ts", BigInteger, nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    Column("event_id", String(255)),
    Column("trace", String(64), nullable=False),
    Column("lane", Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)
Index("outbox_state", outbox.c.state, outbox.c.sequence)
Index("outbox_event", outbox.c.event_id)

operations = Table(
    "operations",
    metadata,
    Column("sequence", _Sequence, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("origin_kind", String(16), nullable=False),
    Column("origin", Text, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("action", String(64), nullable=False),
    Column("command", Text, nullable=False),
    Column("target", String(255), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("rule", String(64)),
    Column("deadline_ts", BigInteger, nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    Column("changed_ts", BigInteger, nullable=False),
    Column("trace", String(64), nullable=False),
    Column("replies", Integer, nullable=False),
    Column("answer", Text),
    Column("basis", String(64), nullable=False, server_default=""),
    sqlite_autoincrement=True,
)
Index("operations_state", operations.c.state, operations.c.sequence)

grants = Table(
    "grants",
    metadata,
    Column("operation_id", String(64), primary_key=True),
    Column("granted_by", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("granted_ts", BigInteger, nullable=False),
    Column("spent_ts", BigInteger),
)

# Alerts that the room was told of; `notice` is the transaction id of the message in the outbox.
alerts = Table(
    "alerts",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("notice", String(255), nullable=False),
    Column("told_ts", BigInteger, nullable=False),
)
Index("alerts_told", alerts.c.told_ts)

# Tokens for the HTTP interface, by the SHA-256 of each; `revoked_ts` is set when one is taken back.
tokens = Table(
    "tokens",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("person", String(255), nullable=False),
    Column("role", String(16), nullable=False),
    Column("made_by", String(255), nullable=False),
    Column("made_ts", BigInteger, nullable=False),
    Column("expires_ts", BigInteger, nullable=False),
    Column("revoked_ts", BigInteger),
    Column("revoked_by", String(255)),
)

# Reports before the answer, of operations that came from no room: a client asks for them again.
reports = Table(
    "reports",
    metadata,
    Column("operation_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("told_ts", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
)

# What the reconciler remembers of an agent since its wish of `wished_ts`; `told` and `given_up` are
# 0 or 1, and `what` is empty if it is as wished.
agent_histories = Table(
    "agent_histories",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("wished_ts", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("what", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("trace", String(64), nullable=False),
    Column("told", Integer, nullable=False),
    Column("given_up", Integer, nullable=False),
)

# Agents that a command made; one that was deleted stays here as a record.
created_agents = Table(
    "created_agents",
    metadata,
    Column("sequence", _Sequence, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False),
    Column("role", String(64), nullable=False),
    Column("template", String(64), nullable=False),
    Column("variables", Text, nullable=False),
    Column("matrix_id", String(255), nullable=False),
    Column("port", Integer, nullable=False),
    Column("slot", String(64), nullable=False),
    Column("created_by", String(255), nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    Column("deleted_ts", BigInteger),
    sqlite_autoincrement=True,
)
Index("created_agents_name", created_agents.c.name)
# No two agents share a slot, a port or an account, whoever chose them; those of a deleted one are
# free again.
PRESENT = created_agents.c.deleted_ts.is_(None)
for _column, _where in (
    (created_agents.c.slot, PRESENT & (created_agents.c.slot != "")),
    (created_agents.c.port, PRESENT),
    (created_agents.c.matrix_id, PRESENT),
):
    Index(
        f"created_agents_{_column.name}",
        _column,
        unique=True,
        sqlite_where=_where,
        postgresql_where=_where,
    )

# Versions of agents' documents: never changed, never deleted.
gosuto_versions = Table(
    "gosuto_versions",
    metadata,
    Column("agent", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sha256", String(64), nullable=False),
    Column("author", String(255), nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    Column("trace", String(64), nullable=False),
    Column("made_by", String(255), nullable=False),
    Column("document", Text, nullable=False),
)

# Documents that were handed in beside a command, until it has run.
gosuto_documents = Table(
    "gosuto_documents",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("document", Text, nullable=False),
    Column("kept_ts", BigInteger, nullable=False),
)

# Agents' secrets, encrypted; `control/vault` reads and writes these four tables.
secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("type", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("critical", Integer, nullable=False),
    Column("author", String(255), nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    Column("changed_ts", BigInteger, nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("nonce", String(24), nullable=False),
    Column("ciphertext", Text, nullable=False),
)
secret_bindings = Table(
    "secret_bindings",
    metadata,
    Column("secret", String(64), primary_key=True),
    Column("agent", String(64), primary_key=True),
    Column("author", String(255), nullable=False),
    Column("created_ts", BigInteger, nullable=False),
)
secret_leases = Table(
    "secret_leases",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("agent", String(64), nullable=False),
    Column("secret", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("token_hash", String(64), nullable=False),
    Column("offered_until_ts", BigInteger, nullable=False),
    Column("expires_ts", BigInteger, nullable=False),
    Column("redeemed_ts", BigInteger),
)
Index("secret_leases_expires", secret_leases.c.expires_ts)
# Links by which a value is entered once; the token itself is never stored.
secret_forms = Table(
    "secret_forms",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("type", String(16), nullable=False),
    Column("critical", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("author", String(255), nullable=False),
    Column("trace", String(64), nullable=False),
    Column("expires_ts", BigInteger, nullable=False),
    Column("used_ts", BigInteger),
    Column("mac", String(64), nullable=False),
)

# Approvals that agents ask for; `shown` and `reason` are emptied when one has ended.
asks = Table(
    "asks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("agent", String(64), nullable=False),
    Column("number", String(64), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("tool", String(200), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("rule", String(64)),
    Column("shown", Text, nullable=False),
    Column("asked_ts", BigInteger, nullable=False),
    Column("expires_ts", BigInteger, nullable=False),
    Column("trace", String(64), nullable=False),
    Column("room_id", String(255), nullable=False),
    Column("prompts", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("decided_by", String(255), nullable=False),
    Column("decided_ts", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("tries", Integer, nullable=False),
)
Index("asks_state", asks.c.state)
Index("asks_agent", asks.c.agent, asks.c.asked_ts)

audit = Table(
    "audit",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("ts", String(32), nullable=False),
    Column("trace", String(64), nullable=False),
    Column("actor", String(255), nullable=False),
    Column("action", String(64), nullable=False),
    Column("target", String(255), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
)
Index("audit_trace", audit.c.trace)
