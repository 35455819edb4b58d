#!/usr/bin/python3
"""An SRT listener (GStreamer's) that keeps what is sent to it, one session behind the other, and lets in only those who know the passphrase and name the stream.

    srt_sink.py --port 9000 --stream-id door --passphrase … --file /tmp/kept.ts

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
parser.add_argument("--passphrase", required=True)
parser.add_argument("--file", required=True)
options = parser.parse_args()
Gst.init(None)
pipeline = Gst.parse_launch(
    f"srtsrc name=source uri=srt://127.0.0.1:{options.port}?mode=listener keep-listening=true authentication=true passphrase={options.passphrase} ! "
    f"filesink sync=false buffer-mode=2 location={options.file}"
)
source = pipeline.get_by_name("source")
source.connect("caller-connecting", lambda _source, _address, asked: asked == options.stream_id)
pipeline.set_state(Gst.State.PLAYING)
print(json.dumps({"port": options.port}), flush=True)
GLib.MainLoop().run()
