"""Redis as an operator may have it, on loopback, of real servers: one, a pair with a Sentinel, a cluster."""
