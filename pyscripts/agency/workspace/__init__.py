"""What an agent user has at hand: workspace, task loop, audit log, and the programs beside them."""
