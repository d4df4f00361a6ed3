"""What Ray Serve runs: gateway, router, sessions, variants, engines, and the client."""
