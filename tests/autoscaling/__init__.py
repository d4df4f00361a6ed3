"""Of autoscaling/."""
