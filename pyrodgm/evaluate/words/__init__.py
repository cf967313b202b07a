"""Scores of words, and topics, for models of text."""
