"""A log-in to the homeserver through a real OpenID provider, as a browser does it."""
