"""Parts of an execution: which messages may run, agents, results and replies."""
