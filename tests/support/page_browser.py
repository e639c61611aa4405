"""A headless Chromium on pages of loopback, with axe-core: what it shows, and what it refuses.

`make test-pages` fetches axe-core (tools/page_checks.py) and installs a browser.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agency.chromium import BROWSERS, find_browser
from agency.spinup.targets.incus.parts.edge.browser import (
    AS_ROOT,
    FLAGS,
    Browser,
    running,
)

AXE = Path(__file__).resolve().parents[2] / ".tools" / "agents" / "axe-core" / "axe.min.js"
_WAIT_S = 15.0
# Whatever the page may not do is told to the page itself: nothing is lost between two looks.
_WATCH = """
window.refused = [];
document.addEventListener("securitypolicyviolation", (e) => refused.push(e.violatedDirective));
window.addEventListener("error", (e) => refused.push(String(e.message)));
"""
_EXAMINE = """
axe.run().then((found) => JSON.stringify([
  found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 200)).join(" | ")}`),
  found.passes.length,
]))
"""


def missing() -> str | None:
    """Name what these tests lack here; None if nothing."""
    if not any(map(shutil.which, BROWSERS)):
        return "no Chromium"
    return None if AXE.is_file() else "no axe-core"


@dataclass
class Page:
    """One page of the browser, at a server."""

    browser: Browser
    base: str
    scripts: bool = True
    answers: list[dict[str, Any]] = field(default_factory=list)

    async def open(self, path: str) -> None:
        await self.browser.open(self.base + path)

    async def set(self, scheme: str = "light", width: int = 1200, scripts: bool = True) -> None:
        """Choose what the person prefers, how wide the screen is, and whether scripts run."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.browser.call("Emulation.setEmulatedMedia", features=features)
        await self.browser.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        await self.browser.call("Emulation.setScriptExecutionDisabled", value=not scripts)

    async def text(self) -> str:
        """The text that a person sees."""
        return str(await self.browser.evaluate("document.body.innerText"))

    async def until(self, expression: str, holds: Callable[[Any], bool] = bool) -> Any:
        """Wait until an expression has a value that holds; return it."""
        async with asyncio.timeout(_WAIT_S):
            while not holds(seen := await self.browser.evaluate(expression)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return seen

    async def asked(self, path: str) -> int:
        """How often the browser got this page."""
        return sum(one["url"] == self.base + path for one in self.answers)

    async def until_asked(self, path: str, times: int) -> None:
        """Wait until the browser got a page that often."""
        async with asyncio.timeout(_WAIT_S):
            while await self.asked(path) < times:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)  # it is shown

    async def refused(self) -> list[str]:
        """Violations of the page's policy, and errors of its scripts."""
        return list(await self.browser.evaluate("window.refused"))

    async def faults(self) -> list[str]:
        """Faults that axe-core finds, each with the elements that have it."""
        axe = AXE.read_text()
        await self.browser.call("Runtime.evaluate", expression=f"{axe};0")
        found = await self.browser.call(
            "Runtime.evaluate",
            expression=_EXAMINE,
            awaitPromise=True,
            returnByValue=True,
        )
        violations, passes = json.loads(found["result"]["value"])
        assert passes > 10, "axe-core looked at next to nothing"
        return list(violations)

    async def press(self, key: str, times: int = 1) -> None:
        """Press a key."""
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                await self.browser.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                                        windowsVirtualKeyCode={"Tab": 9, "Enter": 13}[key],
                                        text="\r" if key == "Enter" else "")  # fmt: skip

    async def picture(self, path: Path, height: int = 900) -> None:
        """Write what is seen as an image."""
        await self.browser.call(
            "Emulation.setDeviceMetricsOverride",
            width=1100, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        found = await self.browser.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(found["data"]))


@contextlib.asynccontextmanager
async def browsing_loopback(base: str, home: Path) -> AsyncIterator[Page]:
    """A browser that reaches loopback alone."""
    await asyncio.to_thread(home.mkdir, parents=True)
    argv = (
        *(find_browser(), *FLAGS, *(AS_ROOT if os.geteuid() == 0 else ())),
        *(f"--user-data-dir={home / 'profile'}", "--hide-scrollbars"),
        *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank"),
    )
    try:
        async with running(argv, home) as browser:
            await browser.begin()
            await browser.call("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
            page = Page(browser, base, answers=browser.answers)
            await page.set()
            yield page
    finally:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
