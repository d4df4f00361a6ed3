"""From the bytes of media to the tensors that the encoders take. Imports Pillow and PyAV."""
