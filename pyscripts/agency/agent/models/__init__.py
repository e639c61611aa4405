"""Port to language models: one conversation, two wire formats, typed errors.

    ModelRequest ─▶ Codec.encode ─▶ HTTP (client) ─▶ body ────────▶ Codec.decode ─▶ Answer
                                                  └─▶ SSE events ─▶ Assembly ─────▶ Answer

`chat_completions` and `messages` are the codecs, pure functions over JSON; `client` sends.
"""
