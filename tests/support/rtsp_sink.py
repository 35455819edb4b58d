#!/usr/bin/python3
"""An RTSP server that is published to (GStreamer's): it keeps the pictures, an H.264 elementary stream, in a file for each session.

    rtsp_sink.py --port 8554 --path /live/door --folder /tmp/kept

Prints one JSON line {"port": …} when it listens.
"""

import argparse
import json

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--path", required=True)
parser.add_argument("--folder", required=True)
options = parser.parse_args()
Gst.init(None)


class Factory(GstRtspServer.RTSPMediaFactory):
    """Makes the pipeline of a session."""

    sessions = 0

    def do_create_element(self, _url):
        self.sessions += 1
        file = f"{options.folder}/{self.sessions}.h264"
        return Gst.parse_launch(
            "( rtph264depay name=depay0 ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au ! "
            f"filesink sync=false buffer-mode=2 location={file} rtpmp4gdepay name=depay1 ! fakesink sync=false )"
        )


server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(str(options.port))
factory = Factory()
factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
server.get_mount_points().add_factory(options.path, factory)
server.attach(None)
print(json.dumps({"port": options.port}), flush=True)
GLib.MainLoop().run()
