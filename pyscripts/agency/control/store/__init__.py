"""What the control plane remembers: inventory, inbox, outbox and the hash-chained audit log."""
