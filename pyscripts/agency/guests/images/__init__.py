"""Materials of a guest, prepared on the host and kept by digest: its image, its wheels."""
