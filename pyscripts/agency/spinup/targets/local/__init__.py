"""Target `local`: the agency as child processes of one supervisor."""
