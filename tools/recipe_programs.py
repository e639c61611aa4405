"""Programs of the recipes below tests/recipes, for `make test-recipes`. Standard library only.

PyPI's come by pip, and Debian's Redis is unpacked beside the machine, by the tests themselves.
"""

from __future__ import annotations

from pathlib import Path

import oauth2_proxy
import s3_server
from setup import apt


def main() -> None:
    """Install PostgreSQL, if there is none, and build what comes as a Go module."""
    if not any(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        apt("postgresql")
    s3_server.main()
    oauth2_proxy.main()


if __name__ == "__main__":
    main()
