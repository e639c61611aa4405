"""Accounting: prices, the ledger of reservations, and the meter of an answer."""
