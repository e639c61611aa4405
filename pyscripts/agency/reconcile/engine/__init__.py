"""What runs reconcilers: observe, plan, apply, under a lock."""
