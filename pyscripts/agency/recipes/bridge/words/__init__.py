"""Words of the bridge: what a comment asks for, and what it is answered. Pure."""
