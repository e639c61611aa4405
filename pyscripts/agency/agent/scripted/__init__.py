"""Scripted model: answers of a file in the place of a language model, over HTTP, and labelled so.

task and results so far ─▶ script (pure): the next step ─▶ say, or call a tool ─▶ chat completions
"""
