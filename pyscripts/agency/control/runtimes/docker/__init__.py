"""The runtime `docker`: every agent is a container of its own.

    control plane ── HTTP ──▶ front ── relay ──▶ waiting line ◀── dials ── agent in its container
                     (socket, closed directory)   (socket, mounted read-only)

- `settings`: the image and the limits, as control.json says them
- `container`: what is asked of the engine for one agent, and how its answers read; pure
- `engine`: the calls
- `relay`: the connections between the control plane and an agent
- `parts`, `crew`: containers beside it of an agent that works, what each sees, and their keeping
- `door`: the way of these to homeserver and proxy
- `runtime`: the runtime itself
"""
