"""Parts of `make test-pages`: axe-core, which examines pages, and a headless Chromium.

axe-core is one file of npm's package, which needs no others; no script of the package runs
(agent_clis). Standard library only.
"""

from __future__ import annotations

import os

from agent_browser import find_browser
from agent_clis import Package, link
from debian_packages import codename, fail, install
from guest_host import BROWSERS

AXE = Package(  # MPL-2.0
    "axe-core",
    "axe-core",
    "4.14.1",
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)


def main() -> None:
    """Fetch axe-core, and install a browser where there is none (root; Debian)."""
    link((AXE,))
    if find_browser() is None:
        if os.geteuid() != 0 or codename() is None:
            fail(f"please install one of: {', '.join(BROWSERS)}")
        install(BROWSERS[0])


if __name__ == "__main__":
    main()
