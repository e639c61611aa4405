"""Requests on their way out: fields that may pass, limits, redaction."""
