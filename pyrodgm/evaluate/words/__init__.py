"""Words and topics of models of text."""
