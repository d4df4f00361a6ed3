"""The gRPC server in front: servicers, the edge that maps errors, and the Serve deployment that runs it."""
