"""Settings of the unit suite. Above tests/guest there are none: that suite runs without them."""

from __future__ import annotations

import binding
import properties

properties.use()
binding.use()
