"""Probes of the services of an instance, each from inside its machine, over loopback or a socket.

Importing this package registers them; each module is one kind of service.
"""

from agency.spinup.probes.shop import ci, cluster, edge, forge, metrics, pages, services, swarm

__all__ = ["ci", "cluster", "edge", "forge", "metrics", "pages", "services", "swarm"]
