"""Delivery of secrets to the services that read them."""
