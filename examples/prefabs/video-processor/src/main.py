"""Take a video apart with ffmpeg: its sound, a picture of a moment. The clip lies in data/inputs/video/, results go to data/outputs/."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from imageio_ffmpeg import get_ffmpeg_exe

FFMPEG = get_ffmpeg_exe()
CODECS = {"mp3": ["-c:a", "libmp3lame", "-q:a", "4"], "wav": ["-c:a", "pcm_s16le"], "flac": ["-c:a", "flac"], "ogg": ["-c:a", "libvorbis"]}
SECONDS = 300


def extract_audio(format: str = "mp3") -> dict[str, Any]:  # noqa: A002 (the published name)
    """Write the clip's sound as one file."""
    clip = _clip()
    target = Path("data/outputs/audio") / f"{clip.stem}.{format}"
    _ffmpeg("-i", str(clip), "-vn", *CODECS[format], str(target), target=target)
    return {
        "success": True,
        "message": f"wrote {target.name}",
        "format": format,
        "seconds": _duration(target),
        "bytes": target.stat().st_size,
    }


def extract_frame(at: float = 0.0, width: int = 0) -> dict[str, Any]:
    """Write the picture that is shown `at` seconds; `width` in pixels scales it."""
    clip = _clip()
    target = Path("data/outputs/frame") / f"{clip.stem}-{at:g}s.png"
    scale = ["-vf", f"scale={width}:-2"] if width else []
    _ffmpeg("-ss", str(at), "-i", str(clip), "-frames:v", "1", *scale, str(target), target=target)
    return {"success": True, "message": f"wrote {target.name}", "at": at, "bytes": target.stat().st_size}


def _clip() -> Path:
    return next(path for path in sorted(Path("data/inputs/video").iterdir()) if path.is_file())


def _ffmpeg(*arguments: str, target: Path) -> None:
    """Run ffmpeg; what it complains of is the error's message."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [FFMPEG, "-hide_banner", "-loglevel", "error", "-nostdin", "-threads", "1", "-y", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603 (our own program, no shell)
    if done.returncode or not target.exists() or not target.stat().st_size:
        reason = done.stderr.strip().splitlines()[-1:] or ["it wrote nothing: the clip has no such part"]
        raise ValueError(f"ffmpeg could not write {target.name}: {reason[0]}")


def _duration(file: Path) -> float:
    """Return the length in seconds, as ffmpeg reads it."""
    done = subprocess.run([FFMPEG, "-hide_banner", "-i", str(file)], capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    match = re.search(r"Duration: (\d+):(\d+):([\d.]+)", done.stderr)
    return 0.0 if match is None else int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
