"""Dashboard of recipe CI: the recorded runs as pages, JSON, badges and feeds. It only reads."""
