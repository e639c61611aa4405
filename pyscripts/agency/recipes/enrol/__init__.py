"""Enrolment of recipes: what is in one, the tests that it needs, its entry in the instance.

source ─▶ findings ─▶ proposals ─▶ templates ─▶ tests/recipes/<recipe>/
                                   entry     ─▶ instance.yaml, generated/
"""
