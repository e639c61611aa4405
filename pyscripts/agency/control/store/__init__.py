"""The control plane's tables: inventory, inbox, outbox, operations and the audit log."""
