"""The control plane: commands from the control room, authorised, run once and audited."""
