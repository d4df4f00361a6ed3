"""How many replicas a variant needs: pure functions over signals, a simulator of them, and an adapter to Ray Serve."""
