"""Events of rooms as pure values: which of them wake the agent, and what is said in answer."""
