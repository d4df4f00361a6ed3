"""What replicas are made of, and how they run as one."""
