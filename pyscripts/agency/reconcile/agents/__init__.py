"""What each agent finds in its home."""
