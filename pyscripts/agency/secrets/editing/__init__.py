"""Changes of an encrypted file: planned from its old and new content, then written in one step."""
