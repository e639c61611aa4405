"""Logs of a run: pieces of files, their colours, and streams of what is added to them."""
