"""People at a Matrix client: their accounts, what they say, and the conversation."""
