"""Views of the runs: rows, words, links, pages, documents, badges and feeds. Pure."""
