"""Pictures of coloured shapes, what may be asked about them, and the right answers."""
