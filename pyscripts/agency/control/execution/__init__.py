"""From a stored event to its reply: may it run, run it, say what came of it."""
