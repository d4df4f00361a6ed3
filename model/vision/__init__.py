"""The vision tower: patches of an image, or of the frames of a video, to soft tokens."""
