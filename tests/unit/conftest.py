"""Settings of the unit suite. Above tests/guest there are none: that suite runs without them."""

from __future__ import annotations

import properties

properties.use()
