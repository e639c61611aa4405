"""A durable store for packages that keep state: engine, migrations, and one holder per database.

This package knows no tables: its callers bring a `Schema` and functions over a connection.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
