"""Autoscaling policies over serving signals."""
