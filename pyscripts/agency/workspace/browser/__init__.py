"""The agent's browser: a Chromium that stays, with a profile that lasts.

    tool server (gateway) ── WebSocket over a Unix socket ──▶ door ─▶ relay ─▶ pipe ─▶ Chromium
      `agency workspace serve browser`                        `agency workspace browser`

No port is opened for debugging: Chromium is driven over two inherited descriptors, and who drives
it connects to a socket that the agent's user alone can reach.
"""
