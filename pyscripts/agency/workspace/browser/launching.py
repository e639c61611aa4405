"""Start of Chromium: its program, arguments and places. Pure but for the look at the PATH."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError, UsageError
from agency.programs import Bounds
from agency.workspace.config import WORKSPACE, AgentSettings, BrowserSettings

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
# Writable memory of each process: a page that takes more ends with its tab.
BOUNDS = Bounds(data_bytes=1024**3)
# Where all that is not of the listed origins goes: only root could listen there.
NO_PROXY_AT_ALL = "http://127.0.0.1:9"
STATE = Path(".local/state/agency-browser")
SOCKET = "cdp.sock"

_SAFE_PATH = re.compile(r"/[A-Za-z0-9._/-]+")
_LONGEST_SOCKET = 107  # bytes, unix(7)
# Everything that would ask the world something, or a person, by itself.
_QUIET = (
    "--no-first-run",
    "--no-default-browser-check",
    "--no-service-autorun",
    "--no-startup-window",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-search-engine-choice-screen",
    "--disable-sync",
    "--hide-crash-restore-bubble",
    "--metrics-recording-only",
    "--password-store=basic",
    "--log-level=3",
)
_FEATURES_OFF = (
    "DisableLoadExtensionCommandLineSwitch",
    "MediaRouter",
    "OptimizationHints",
    "Translate",
)


@dataclass(frozen=True, slots=True)
class BrowserPlaces:
    """Places of one agent's browser."""

    state: Path
    socket: Path
    downloads: Path

    @property
    def profile(self) -> Path:
        """Cookies, storage and settings of the browser."""
        return self.state / "profile"

    @property
    def log(self) -> Path:
        """Last words of the browser that runs."""
        return self.state / "log"


def places_of(agent: AgentSettings, settings: BrowserSettings) -> BrowserPlaces:
    """Name the places; downloads go to the workspace.

    Raises:
        UsageError: the socket's path is none that a tool server can be told.
    """
    state = agent.home / STATE
    socket = settings.socket or state / SOCKET
    if not _SAFE_PATH.fullmatch(str(socket)) or len(os.fsencode(socket)) > _LONGEST_SOCKET:
        raise UsageError(
            f"its path is none of 1 to {_LONGEST_SOCKET} characters of A-Z a-z 0-9 . _ / -",
            where=str(socket),
            hint="name another socket in the browser's settings",
        )
    return BrowserPlaces(state, socket, agent.home / WORKSPACE / "downloads")


def find_browser() -> str:
    """Find Chromium on the PATH.

    Raises:
        PrerequisiteError: there is none.
    """
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        raise PrerequisiteError(
            "no Chromium is installed",
            where="PATH",
            hint=f"install one of: {', '.join(PROGRAMS)}",
        )
    return found


def arguments_of(settings: BrowserSettings, profile: Path) -> list[str]:
    """Return the arguments of Chromium. Pure."""
    found = [*_QUIET, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    found.append(f"--disable-features={','.join(_FEATURES_OFF)}")
    if settings.display is None:
        found += ["--headless", "--hide-scrollbars", "--mute-audio"]
    else:
        found += ["--ozone-platform=wayland", "--start-maximized"]
    if not settings.sandbox:
        found.append("--no-sandbox")
    if settings.extensions:
        listed = ",".join(settings.extensions)
        found += [f"--load-extension={listed}", f"--disable-extensions-except={listed}"]
    if settings.origins:
        # Of a proxy everything is asked: redirects, parts of pages and other names of loopback too.
        # The last rule that fits holds.
        past = ";".join(("<-loopback>", *settings.origins))
        found += [f"--proxy-server={NO_PROXY_AT_ALL}", f"--proxy-bypass-list={past}"]
        found.append("--force-webrtc-ip-handling-policy=disable_non_proxied_udp")
    return found


def environment_of(settings: BrowserSettings, home: Path) -> dict[str, str]:
    """Return what Chromium is told of its surroundings; nothing else of ours. Pure."""
    told = {"HOME": str(home), "DBUS_SESSION_BUS_ADDRESS": "unix:path=/dev/null"}
    if settings.display is not None:
        told["WAYLAND_DISPLAY"] = str(settings.display)
        told["XDG_RUNTIME_DIR"] = str(settings.display.parent)
    return told
