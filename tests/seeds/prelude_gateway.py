"""What the gateway's samples use without defining it: a client, a call, a session, files of the reader's own, and functions on them."""

import logging
import os
import subprocess
import sys
import uuid

from imageio_ffmpeg import get_ffmpeg_exe

from gateway_sdk import AgentContextRequiredError, GatewayClient

client = GatewayClient(internal_token=os.environ["X_INTERNAL_TOKEN"])
messages = [{"role": "user", "content": "Hello"}]
call = ("llm-client", "1.0.0", "chat", {"messages": messages})
session_id = str(uuid.uuid4())
some_condition = True
api_key = os.environ["PPIO_API_KEY"]
tmp = os.environ["SAMPLES_TMP"]  # for /tmp: with video.mp4, input.mp4, result.pdf and intermediate.jpg in it
video_url, result_url = os.environ["SAMPLES_VIDEO"], os.environ["SAMPLES_RESULT"]  # what lies in the gateway already


def strangers_client() -> GatewayClient:
    return GatewayClient(api_key=os.environ["STRANGER_KEY"])


def newcomers_client() -> GatewayClient:
    return GatewayClient(api_key=os.environ["NEWCOMER_KEY"])


def poor_client() -> GatewayClient:
    return GatewayClient(api_key=os.environ["POOR_KEY"])


def ffmpeg(*arguments: str) -> None:
    subprocess.run([get_ffmpeg_exe(), "-loglevel", "error", "-y", *arguments], check=True, stdin=subprocess.DEVNULL)


def extract_audio(source: str, target: str) -> None:
    ffmpeg("-i", source, "-vn", target)


def extract_frame(source: str, target: str) -> None:
    ffmpeg("-i", source, "-frames:v", "1", target)


def process_video(source: str, target: str) -> None:
    ffmpeg("-i", source, "-vf", "negate", "-c:v", "mpeg4", target)
