"""The rules by which transcripts are judged: one folder a version."""
