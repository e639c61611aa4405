"""Programs that an agent's user has at hand: task loop, audit log, and others."""
