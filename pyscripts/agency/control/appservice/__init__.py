"""The application service's HTTP interface: what the homeserver calls, and how we are."""
