"""What the pocket family is taught: each module makes dialogues of one kind, as many as one asks for."""
