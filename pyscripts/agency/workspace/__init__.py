"""The workspace of an agent user: task loop, audit log, and the programs beside them."""
