"""HTTP servers: limits, refusals, events and log-in in one place.

connection -> runner (head) -> refusals -> own checks -> limits (body, time) -> handler
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
