"""Programs beside an agent's ACP process: its tool gateway, and its account in rooms."""
