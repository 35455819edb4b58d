#!/usr/bin/python3
"""Many RTSP cameras that cost little: one encoded file, looped, behind /camera-0, /camera-1, … of one RTSP server.

    cameras.py <file.h264> <frames per second> <cameras>

The file is an H.264 byte stream with access unit delimiters. Prints one JSON line {"port": …} when it listens and ends with
its standard input. Cameras are a part of a frame interval apart, and a camera begins at a key frame when it is connected.
"""

import json
import socket
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

DELIMITER = b"\x00\x00\x00\x01\x09"


class Feed:
    def __init__(self, media, number):
        self.source = media.get_element().get_child_by_name("video")
        self.number = number
        self.next = 0
        self.offset = None


def without_delay(_server, client):
    """A picture goes out when it is there. On this machine's own interface, whose segments are longer than a picture, Nagle's
    algorithm would hold back all but the first packet of it; on a network it holds back a picture's last segment only."""
    client.get_connection().get_read_socket().set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def main():
    path, fps, cameras = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    Gst.init(None)
    units = [Gst.Buffer.new_wrapped(DELIMITER + unit) for unit in open(path, "rb").read().split(DELIMITER)[1:]]
    feeds, lock = [[] for _ in range(cameras)], threading.Lock()

    def configure(_factory, media, number):
        feed = Feed(media, number)
        with lock:
            feeds[number].append(feed)
        media.connect("unprepared", lambda *_: drop(feed))

    def drop(feed):
        with lock:
            if feed in feeds[feed.number]:
                feeds[feed.number].remove(feed)

    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    for number in range(cameras):
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(
            "( appsrc name=video is-live=true format=time max-bytes=0 "
            "caps=video/x-h264,stream-format=byte-stream,alignment=au ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
        )
        factory.set_shared(True)
        factory.connect("media-configure", configure, number)
        server.get_mount_points().add_factory(f"/camera-{number}", factory)

    def play():
        slots = cameras * fps
        begun = time.monotonic()
        slot = 0
        while True:
            due = begun + slot / slots
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            with lock:
                for feed in feeds[slot % cameras]:
                    clock = feed.source.get_clock()
                    # The pipeline hands out its clock before its base time; both stand once its elements play.
                    if clock is None or feed.source.get_state(0)[1] != Gst.State.PLAYING:
                        continue
                    at = int((due - begun) * Gst.SECOND)
                    if feed.offset is None:
                        feed.offset = clock.get_time() - feed.source.get_base_time() - at
                    buffer = units[feed.next % len(units)].copy()
                    buffer.pts = buffer.dts = at + feed.offset
                    feed.next += 1
                    feed.source.emit("push-buffer", buffer)
            slot += 1

    server.connect("client-connected", without_delay)
    server.attach(None)
    loop = GLib.MainLoop()
    threading.Thread(target=play, daemon=True).start()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    loop.run()


if __name__ == "__main__":
    main()
