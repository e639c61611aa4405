"""Matrix client: calls, back-off, rooms, and a person at a client.

control plane, reconcilers     spin-up, `agency room`
          |                            |
     ControlRoom                    Person        (log-in, sync, say, wait for a reply)
          |                            |
          +------ MatrixSession -------+          (one call, one answer, one kind of error)
                       |
                    aiohttp
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
