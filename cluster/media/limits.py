"""How much a caller's media may cost us."""

from __future__ import annotations

from dataclasses import dataclass

from model.soft_tokens import SoftTokenRules


@dataclass(frozen=True)
class MediaLimits:
    """Bounds that hold for one image, sound or video."""

    max_image_pixels: int = 50_000_000
    # What a JPEG can have; resizing a longer line of pixels takes gigabytes.
    max_image_side: int = 65_535
    # A progressive JPEG goes over all its pixels once a scan; encoders write about ten.
    max_jpeg_scans: int = 64
    # Encoders keep up to 16 frames to refer to: about 250 MB at this size.
    max_frame_pixels: int = 4096 * 2304
    max_audio_s: float = SoftTokenRules().max_audio_s
    # Lossy encoders pad a sound to whole frames; so little more is cut off unheard.
    audio_slack_s: float = 0.1
    min_rate_hz: int = 1_000
    max_rate_hz: int = 768_000
    max_channels: int = 64
    max_video_s: float = 600.0
    max_video_frames: int = 72_000
    # FFmpeg keeps about 35 bytes for each sample (a frame or a bit of sound) that an MP4 promises, once for each edit.
    max_mp4_samples: int = 4_000_000
    # Wall-clock time of decoding.
    max_decode_s: float = 10.0
