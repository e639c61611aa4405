"""The tests of the recipes belong to runs of recipe CI, not to this project's own suite."""

collect_ignore_glob = ["*/recipe/*"]
