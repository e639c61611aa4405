"""The throwaway guest: its image, what is installed in it, and the machine itself."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
