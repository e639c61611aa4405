"""GitLab: its settings, users, projects and clients."""
