"""The browser's MCP server for `make test-agents`: npm's packages, and a headless Chromium.

The version is the one of nixpkgs, which has the same programs for hosts. The packages need no
others, and no script of theirs runs (agent_clis). Standard library only.
"""

from __future__ import annotations

import os
import shutil

from agent_clis import PLACE, Package, link
from debian_packages import codename, fail, install
from guest_host import BROWSERS

# Apache-2.0, all three; Playwright's are found beside the server by NODE_PATH.
PACKAGES = (
    Package(
        "playwright-mcp",
        "@playwright/mcp",
        "0.0.76",
        "ICcW6wAV+HoNEco19eni+JTVylCIIedruWkrRl2Rsv/qcGhBZLT/c0I1VounjIjSVSupw3pHmcr3CNCikTHTBQ==",
    ),
    Package(
        "playwright",
        "playwright",
        "1.61.0-alpha-1781023400000",
        "8TRUG3IvwaAhuVm6k3C5vB7CwC5Fxq76DCCxOgPr6r1dpTedDwxlmdOBUkSZ0zxfxP14jcuPxi86/Trq4eA03w==",
    ),
    Package(
        "playwright-core",
        "playwright-core",
        "1.61.0-alpha-1781023400000",
        "UdtUd9qnCO0zvb8p3OvOZpelY6mA40mTb3NmWGuMtrD+hqqWuorWCPlSGwj7jw/LEB9AxvYLHTL1CJi2flvksg==",
    ),
)
SERVER = PLACE / "playwright-mcp" / "cli.js"


def find_browser() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def main() -> None:
    """Fetch the packages, and install a browser where there is none (root; Debian)."""
    link(PACKAGES)
    if find_browser() is None:
        if os.geteuid() != 0 or codename() is None:
            fail(f"please install one of: {', '.join(BROWSERS)}")
        install(BROWSERS[0])


if __name__ == "__main__":
    main()
