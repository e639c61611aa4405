"""What is shown of the runs: views, words, links, pages, documents, badges and feeds. Pure."""
