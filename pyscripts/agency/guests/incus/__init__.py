"""A thin, typed client of Incus: the REST API over its unix socket, and the daemon behind it.

Source: https://linuxcontainers.org/incus/docs/main/rest-api/
"""
