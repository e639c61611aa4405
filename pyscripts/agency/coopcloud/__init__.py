"""Co-op Cloud on one machine: recipes, abra that deploys them, and the resulting stacks."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
