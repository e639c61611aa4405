"""GitLab: the administrator's calls, and the contract of a forge over the same client."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
