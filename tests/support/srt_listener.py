#!/usr/bin/python3
"""An SRT listener (GStreamer's) that lets in only those who ask for one stream: an MPEG transport stream comes on standard
input and goes to every caller.

    srt_listener.py --port 9000 --stream-id door

Prints one JSON line {"port": …} when it listens.
"""

import argparse
import json

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--stream-id", required=True)
options = parser.parse_args()
Gst.init(None)
pipeline = Gst.parse_launch(
    "fdsrc fd=0 do-timestamp=true ! srtsink name=sink sync=false wait-for-connection=false authentication=true "
    f"uri=srt://127.0.0.1:{options.port}?mode=listener"
)
pipeline.get_by_name("sink").connect("caller-connecting", lambda _sink, _address, asked: asked == options.stream_id)
pipeline.set_state(Gst.State.PLAYING)
print(json.dumps({"port": options.port}), flush=True)
GLib.MainLoop().run()
