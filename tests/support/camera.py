#!/usr/bin/python3
"""A scriptable RTSP camera for the tests, on GStreamer's RTSP server.

Every picture carries a frame counter that any decoder can read back, so that a test can prove that no picture is missing
or repeated. The counter is the number of frame intervals since the Unix epoch (modulo 2^32), so it also tells when the
picture was taken, and goes on over restarts of this process.

    camera.py [--port 8554] [--codec h264] [--width 320] ...

Prints one JSON line {"port": …, "url": …} when it listens. Then every JSON line on standard input is a command and gets
one JSON line as its answer; the end of standard input ends the process.

    {"do": "stats"}                               counts of connections, plays and frames
    {"do": "freeze"} / {"do": "unfreeze"}         no more pictures; sound goes on
    {"do": "slow", "every": 12}                   only every twelfth picture; 1 for all of them
    {"do": "hold"} / {"do": "release"}            keeps what it makes, and sends it all at once
    {"do": "pause"}                               this process is going to be stopped: what it misses meanwhile is left out
    {"do": "stopAudio"} / {"do": "startAudio"}    no more sound packets; pictures go on
    {"do": "resolution", "width": 640, "height": 480}
    {"do": "password", "password": "…"}           of connections from now on
    {"do": "disconnect"}                          closes every connection
    {"do": "refuse", "on": true}                  new DESCRIBEs are answered 404 while it is on (--refuse: from the beginning)
"""

import argparse
import json
import math
import random
import struct
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

# The counter's picture: two rows of twenty square cells in the upper left corner, white for 1: 32 bits of the counter, the
# most significant first, then 8 bits of check sum.
CELL = 16
COLUMNS = 20
WHITE, BLACK, GREY = 235, 16, 96
# A longer pause of this process is not made up for in a burst: of one that was announced (SIGSTOP), and of any other, which a
# busy machine makes. The server gives up a client for which more than ten seconds wait.
ANNOUNCED_PAUSE, LONGEST_CATCH_UP = 1.5, 8.0
# Pictures and sound keep the monotonic clock, so that a step of the wall clock moves nothing.
WALL_CLOCK = time.time() - time.monotonic()
AUDIO_RATE = {"aac": 48000, "opus": 48000, "mulaw": 8000, "alaw": 8000, "pcm": 48000}


def check_sum(counter):
    """Eight bits over the counter's four bytes; 0xA5 keeps an all-black picture from being a valid zero."""
    return 0xA5 ^ (counter >> 24) ^ (counter >> 16 & 0xFF) ^ (counter >> 8 & 0xFF) ^ (counter & 0xFF)


class Painter:
    """Makes I420 pictures of one size."""

    def __init__(self, width, height, noise):
        self.width, self.height = width, height
        self.chroma = bytes([128]) * (width * height // 2)
        ramp = bytes(GREY + (x * 64 // width) for x in range(width))
        rest = height - 2 * CELL
        # Noise cannot be compressed: what fills the bit rate.
        self.backgrounds = [random.Random(n).randbytes(width * rest) if noise else ramp * rest for n in range(5 if noise else 1)]
        self.band = bytes([200]) * (width * CELL)

    def paint(self, counter):
        """The picture with this counter in its corner and a band that moves down by a line a frame."""
        word = (counter << 8) | check_sum(counter)
        rows = []
        for row in range(2):
            cells = b"".join(
                bytes([WHITE if word >> (39 - row * COLUMNS - column) & 1 else BLACK]) * CELL for column in range(COLUMNS)
            )
            rows.append((cells + bytes([GREY]) * (self.width - COLUMNS * CELL)) * CELL)
        below = bytearray(self.backgrounds[counter % len(self.backgrounds)])
        top = counter % (self.height - 3 * CELL) * self.width
        below[top : top + len(self.band)] = self.band
        return b"".join(rows) + bytes(below) + self.chroma


class Feed:
    """The sources of one media (one pipeline; all clients share it)."""

    def __init__(self, media):
        element = media.get_element()
        self.media = media
        self.video = element.get_child_by_name("video")
        self.audio = element.get_child_by_name("audio")
        self.metadata = element.get_child_by_name("metadata")
        self.offset = None
        self.rtp_sequence = 0
        self.silent_probe = False

    def time_of(self, seconds):
        """Running time of the pipeline, in ns, for an instant of the ticker's clock; nothing before its beginning."""
        if self.offset is None:
            clock = self.video.get_clock()
            # The pipeline hands out its clock before its base time; both stand once its elements play.
            if clock is None or self.video.get_state(0)[1] != Gst.State.PLAYING:
                return None
            running = clock.get_time() - self.video.get_base_time()
            # Not by the instant that is asked for: a ticker that is catching up is behind.
            self.offset = running - int((time.monotonic() + WALL_CLOCK) * Gst.SECOND)
        at = int(seconds * Gst.SECOND) + self.offset
        return at if at >= 0 else None


class Camera:
    def __init__(self, options):
        self.options = options
        self.width, self.height = options.width, options.height
        self.painter = Painter(self.width, self.height, options.noise)
        self.lock = threading.Lock()
        self.feeds = []
        self.frozen = False
        self.every = 1
        self.held = None
        self.silent = options.silent_audio
        self.refuse = options.refuse
        # Of the pictures and of the sound: whether the next pause was announced.
        self.pausing = {"pictures": False, "sound": False}
        self.connections = self.total_connections = self.plays = self.describes = 0
        self.frames = 0
        self.first_counter = self.last_counter = None
        self.skips = []
        self.pauses = 0
        self.key_due = False
        self.server = GstRtspServer.RTSPServer()
        self.server.set_address(options.address)
        self.server.set_service(str(options.port))
        self.server.connect("client-connected", self.on_client)
        factory = self.make_factory()
        for path in options.path:
            self.server.get_mount_points().add_factory(path, factory)
        if options.user:
            self.set_password(options.password)

    # -- the pipeline -------------------------------------------------------------------------------------------------

    def make_factory(self):
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch("( " + " ".join(filter(None, [self.video_launch(), self.audio_launch(), self.metadata_launch()])) + " )")
        factory.set_shared(not self.options.unshared)
        factory.set_latency(0)
        transport = GstRtsp.RTSPLowerTrans
        factory.set_protocols({"tcp": transport.TCP, "udp": transport.UDP}.get(self.options.transport, transport.TCP | transport.UDP))
        if self.options.user:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            permissions.add_permission_for_role("anonymous", "media.factory.access", True)
            factory.set_permissions(permissions)
        factory.connect("media-configure", self.on_media)
        return factory

    def video_launch(self):
        options = self.options
        key = max(1, round(options.key_interval * options.fps))
        source = (
            f"appsrc name=video is-live=true format=time max-bytes=0 caps={self.raw_caps().to_string().replace(' ', '')}"
        )
        if options.codec == "h264":
            tune = "" if options.b_frames else "tune=zerolatency"
            encoder = (
                f"x264enc {tune} speed-preset=ultrafast threads=1 bitrate={options.bit_rate} key-int-max={key} b-adapt=false "
                f"bframes={options.b_frames} rc-lookahead=0 sync-lookahead=0 "
                f'option-string="scenecut=0:keyint={key}:min-keyint={key}"'
            )
            # x264enc makes baseline with the ultrafast preset unless something else is asked for.
            profile = "main" if options.b_frames else "constrained-baseline"
            caps = f"video/x-h264,profile={profile}"
            if options.parameter_sets == "sdp":
                return f"{source} ! {encoder} ! {caps} ! h264parse ! video/x-h264,stream-format=avc ! rtph264pay name=pay0 pt=96 config-interval=0"
            return f"{source} ! {encoder} ! {caps} ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 config-interval=-1"
        if options.codec == "h265":
            tune = "" if options.b_frames else "tune=zerolatency"
            encoder = (
                f"x265enc {tune} speed-preset=ultrafast bitrate={options.bit_rate} key-int-max={key} "
                f'option-string="scenecut=0:open-gop=0:keyint={key}:min-keyint={key}:bframes={options.b_frames}:pools=1:frame-threads=1:'
                f'log-level=error"'
            )
            if options.parameter_sets == "sdp":
                return f"{source} ! {encoder} ! h265parse ! video/x-h265,stream-format=hvc1 ! rtph265pay name=pay0 pt=96 config-interval=0"
            return f"{source} ! {encoder} ! h265parse config-interval=-1 ! rtph265pay name=pay0 pt=96 config-interval=-1"
        if options.codec == "mjpeg":
            return f"{source} ! jpegenc quality=60 ! rtpjpegpay name=pay0 pt=26"
        raise ValueError(options.codec)

    def audio_launch(self):
        codec = self.options.audio
        if codec == "none":
            return ""
        rate = AUDIO_RATE[codec]
        source = f"appsrc name=audio is-live=true format=time max-bytes=0 caps=audio/x-raw,format=S16LE,layout=interleaved,rate={rate},channels=1 ! audioconvert"
        return source + {
            "aac": " ! avenc_aac bitrate=32000 ! aacparse ! rtpmp4gpay name=pay1 pt=97",
            "opus": " ! opusenc bitrate=24000 ! rtpopuspay name=pay1 pt=97",
            "mulaw": " ! mulawenc ! rtppcmupay name=pay1 pt=0",
            "alaw": " ! alawenc ! rtppcmapay name=pay1 pt=8",
            "pcm": " ! rtpL16pay name=pay1 pt=97",
        }[codec]

    def metadata_launch(self):
        if not self.options.metadata:
            return ""
        index = 1 if self.options.audio == "none" else 2
        caps = "application/x-rtp,media=application,encoding-name=VND.ONVIF.METADATA,payload=107,clock-rate=90000"
        # A client that does not set the track up leaves it unlinked in the server, which is no error of a camera.
        ignore = "errorignore ignore-notlinked=true convert-to=ok"
        return f"appsrc name=metadata is-live=true format=time caps={caps} ! {ignore} ! identity name=pay{index}"

    def raw_caps(self):
        return Gst.Caps.from_string(
            f"video/x-raw,format=I420,width={self.width},height={self.height},framerate={self.options.fps}/1"
        )

    def on_media(self, _factory, media):
        feed = Feed(media)
        with self.lock:
            # A change of resolution holds for sessions from now on.
            feed.video.set_property("caps", self.raw_caps())
            self.feeds.append(feed)
        media.connect("unprepared", lambda *_: self.drop(feed))
        media.connect("prepared", lambda *_: self.add_silence(feed))

    def drop(self, feed):
        with self.lock:
            if feed in self.feeds:
                self.feeds.remove(feed)

    def add_silence(self, feed):
        """Drops sound packets behind the server's own pre-roll, so that sound can be announced and never sent."""
        if feed.audio is None or feed.silent_probe:
            return
        parent = feed.media.get_element().get_parent()
        iterator = parent.iterate_elements()
        while True:
            result, element = iterator.next()
            if result != Gst.IteratorResult.OK:
                break
            if element.get_name().startswith("rtpbin"):
                pad = element.get_static_pad("send_rtp_src_1")
                if pad is not None:
                    pad.add_probe(Gst.PadProbeType.BUFFER | Gst.PadProbeType.BUFFER_LIST, self.on_sound_packet)
                    feed.silent_probe = True

    def on_sound_packet(self, _pad, _info):
        return Gst.PadProbeReturn.DROP if self.silent else Gst.PadProbeReturn.OK

    # -- the clients --------------------------------------------------------------------------------------------------

    def on_client(self, _server, client):
        with self.lock:
            self.connections += 1
            self.total_connections += 1
        client.connect("closed", self.on_closed)
        client.connect("play-request", self.on_play)
        client.connect("pre-describe-request", self.on_describe)

    def on_closed(self, _client):
        with self.lock:
            self.connections -= 1

    def on_play(self, _client, _context):
        with self.lock:
            self.plays += 1

    def on_describe(self, _client, _context):
        with self.lock:
            self.describes += 1
            refuse = self.refuse
        return GstRtsp.RTSPStatusCode.NOT_FOUND if refuse else GstRtsp.RTSPStatusCode.OK

    def set_password(self, password):
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        methods = GstRtsp.RTSPAuthMethod
        if self.options.auth == "digest":
            auth.set_supported_methods(methods.DIGEST)
            auth.add_digest(self.options.user, password, token)
        else:
            auth.set_supported_methods(methods.BASIC)
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(self.options.user, password), token)
        self.server.set_auth(auth)

    # -- the pictures and the sound -----------------------------------------------------------------------------------

    def is_pause(self, of, late):
        """Whether what is late by so many seconds is left out."""
        if late <= (ANNOUNCED_PAUSE if self.pausing[of] else LONGEST_CATCH_UP):
            return False
        self.pausing[of] = False
        return True

    def tick_for_ever(self):
        """One turn for each frame interval of the wall clock, and the sound of that interval."""
        fps = self.options.fps
        counter = math.floor((time.monotonic() + WALL_CLOCK) * fps) + 1
        behind = False
        while True:
            wait = counter / fps - WALL_CLOCK - time.monotonic()
            # Each pause is counted once, and not for each picture with which it is caught up.
            was_behind, behind = behind, -wait > ANNOUNCED_PAUSE
            if behind and not was_behind and not self.pausing["pictures"]:
                self.pauses += 1
            if wait > 0:
                time.sleep(wait)
            elif self.is_pause("pictures", -wait):
                now = math.floor((time.monotonic() + WALL_CLOCK) * fps) + 1
                with self.lock:
                    self.skips.append([counter % 2**32, now % 2**32])
                    # What comes now can be decoded without what came before the hole.
                    self.key_due = True
                counter = now
                continue
            self.tick(counter, counter / fps)
            counter += 1

    def tick(self, counter, seconds):
        with self.lock:
            if not self.feeds:
                return
            shown = counter % 2**32
            # Slow frame rates have their sound in the same turns: a second of sound a second.
            picture = None if self.frozen or counter % self.every else self.painter.paint(shown)
            sent = False
            force_key = self.key_due and picture is not None and self.held is None
            for feed in self.feeds:
                at = feed.time_of(seconds)
                if at is None:
                    continue
                if picture is not None:
                    if force_key:
                        request = Gst.Structure.new_empty("GstForceKeyUnit")
                        feed.video.send_event(Gst.Event.new_custom(Gst.EventType.CUSTOM_DOWNSTREAM, request))
                    self.push(feed.video, picture, at, Gst.SECOND // self.options.fps)
                    sent = True
                if feed.metadata is not None:
                    self.push(feed.metadata, self.metadata_packet(feed, at), at, Gst.CLOCK_TIME_NONE)
            if sent:
                self.key_due = self.key_due and not force_key
                self.frames += 1
                self.first_counter = shown if self.first_counter is None else self.first_counter
                self.last_counter = shown

    def sound_for_ever(self):
        """Twenty milliseconds of a tone, fifty times a second, whatever the frame rate."""
        codec = self.options.audio
        if codec == "none":
            return
        rate = AUDIO_RATE[codec]
        samples = rate // 50
        tone = b"".join(struct.pack("<h", int(3000 * math.sin(2 * math.pi * 400 * n / rate))) for n in range(samples))
        block = math.floor((time.monotonic() + WALL_CLOCK) * 50) + 1
        while True:
            wait = block / 50 - WALL_CLOCK - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            elif self.is_pause("sound", -wait):
                block = math.floor((time.monotonic() + WALL_CLOCK) * 50) + 1
                continue
            with self.lock:
                for feed in self.feeds:
                    at = feed.time_of(block / 50)
                    if at is not None:
                        self.push(feed.audio, tone, at, Gst.SECOND // 50)
            block += 1

    def push(self, source, data, at, duration):
        if self.held is not None:
            self.held.append((source, data, at, duration))
            return
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.pts = at
        buffer.duration = duration
        source.emit("push-buffer", buffer)

    @staticmethod
    def metadata_packet(feed, at):
        feed.rtp_sequence = (feed.rtp_sequence + 1) % 65536
        document = b'<?xml version="1.0"?><tt:MetadataStream xmlns:tt="http://www.onvif.org/ver10/schema"/>'
        return struct.pack(">BBHII", 0x80, 0x80 | 107, feed.rtp_sequence, at * 9 // 100000 % 2**32, 0x4D455441) + document

    # -- the commands -------------------------------------------------------------------------------------------------

    def command(self, line):
        request = json.loads(line)
        what = request["do"]
        if what == "stats":
            with self.lock:
                return {
                    "connections": self.connections,
                    "totalConnections": self.total_connections,
                    "plays": self.plays,
                    "describes": self.describes,
                    "frames": self.frames,
                    "firstCounter": self.first_counter,
                    "lastCounter": self.last_counter,
                    "skips": self.skips,
                    "pauses": self.pauses,
                }
        if what in ("freeze", "unfreeze"):
            with self.lock:
                self.frozen = what == "freeze"
                return {"lastCounter": self.last_counter}
        if what == "slow":
            with self.lock:
                self.every = request["every"]
            return {}
        if what == "hold":
            with self.lock:
                self.held = []
            return {}
        if what == "release":
            with self.lock:
                held, self.held = self.held or [], None
                for late in held:
                    self.push(*late)
            return {}
        if what == "pause":
            self.pausing = {"pictures": True, "sound": True}
            return {}
        if what in ("stopAudio", "startAudio"):
            self.silent = what == "stopAudio"
            return {}
        if what == "refuse":
            with self.lock:
                self.refuse = request["on"]
            return {}
        if what == "resolution":
            with self.lock:
                self.width, self.height = request["width"], request["height"]
                self.painter = Painter(self.width, self.height, self.options.noise)
                for feed in self.feeds:
                    feed.video.set_property("caps", self.raw_caps())
                return {"lastCounter": self.last_counter}
        if what == "password":
            self.set_password(request["password"])
            return {}
        if what == "disconnect":
            self.server.client_filter(lambda _server, _client: GstRtspServer.RTSPFilterResult.REMOVE)
            return {}
        return {"error": f"unknown command {what}"}


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--path", action="append", help="mount point; more than one share the picture")
    parser.add_argument("--codec", choices=["h264", "h265", "mjpeg"], default="h264")
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--bit-rate", type=int, default=200, help="kbit/s")
    parser.add_argument("--key-interval", type=float, default=1.0, help="seconds")
    parser.add_argument("--b-frames", type=int, default=0)
    parser.add_argument("--parameter-sets", choices=["inband", "sdp"], default="inband")
    parser.add_argument("--audio", choices=["none", *AUDIO_RATE], default="none")
    parser.add_argument("--silent-audio", action="store_true", help="sound is announced and never sent")
    parser.add_argument("--noise", action="store_true", help="pictures that fill the bit rate")
    parser.add_argument("--metadata", action="store_true", help="an ONVIF metadata track")
    parser.add_argument("--transport", choices=["tcp", "udp", "any"], default="any")
    parser.add_argument("--unshared", action="store_true", help="an encoder for each client")
    parser.add_argument("--refuse", action="store_true", help="DESCRIBEs are answered 404 until it is told otherwise")
    parser.add_argument("--auth", choices=["digest", "basic"], default="digest")
    parser.add_argument("--user")
    # The tests give it on standard input, so that it is in no process's arguments.
    parser.add_argument("--password-stdin", action="store_true", help="first line of standard input is the password")
    options = parser.parse_args()
    options.path = options.path or ["/stream"]
    options.password = sys.stdin.readline().rstrip("\n") if options.password_stdin else ""
    return options


def main():
    options = parse()
    Gst.init(None)
    camera = Camera(options)
    if camera.server.attach(None) == 0:
        sys.exit(f"cannot listen on {options.address}:{options.port}")
    loop = GLib.MainLoop()

    def commands():
        for line in sys.stdin:
            if line.strip():
                try:
                    answer = camera.command(line)
                except Exception as error:  # the harness shows it
                    answer = {"error": repr(error)}
                print(json.dumps(answer), flush=True)
        loop.quit()

    for work in (commands, camera.tick_for_ever, camera.sound_for_ever):
        threading.Thread(target=work, daemon=True).start()
    port = camera.server.get_bound_port()
    print(json.dumps({"port": port, "url": f"rtsp://{options.address}:{port}{options.path[0]}"}), flush=True)
    loop.run()


if __name__ == "__main__":
    main()
