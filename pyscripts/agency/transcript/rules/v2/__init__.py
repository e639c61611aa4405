"""The rules of `urn:agency:spinup-transcript:v2`: a draft, by which transcripts are made now.

It holds what it says otherwise than v1, and imports the rest from there. A draft may be edited. Its
release freezes it as v1 is frozen; docs/transcript.md has the steps.
"""
