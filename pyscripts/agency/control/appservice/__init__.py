"""The application service's HTTP interface: the homeserver's calls, and the readiness check."""
