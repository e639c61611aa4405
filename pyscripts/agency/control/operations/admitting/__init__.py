"""Who may ask what: a command becomes an operation, or is refused, or withdrawn."""
