"""HTTP interface of the control plane, for people's programs: the same operations as the room's.

    POST /api/v1/operations ─▶ server ─▶ access ─▶ handlers ─▶ entrance.submit ─▶ operations
          bearer token          limits    whose      by the
                                          token      routes' models
    GET …/events  ◀── server-sent events ◀── events: reports and end, from the store

It has a listener of its own: the homeserver's has other limits, and must not wait behind people's
programs. There are no cookies, so no page elsewhere can act by a browser's log-in. `routes` says
which paths there are, `models` what goes in and out, and `openapi` writes the description of both.
"""
