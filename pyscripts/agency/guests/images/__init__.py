"""What a guest is made of, prepared on the host and kept by digest: its image, its wheels."""
