"""The rules of `urn:agency:spinup-transcript:v1`. Released: these files are never edited.

They are the rules of commit 5d2daef, with everything that they judge by: the statement's model,
the names, the tables of services and of tests. Nothing here imports another part of the agency, so
that no change elsewhere can change what a signed transcript means. A rule that must change is
changed in a newer version. tests/unit/transcript/rules_v1.sha256 has the digest of each file.
"""
