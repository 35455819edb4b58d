#!/usr/bin/python3
"""A camera, or a media server, that speaks HTTP: passes on what an RTSP camera (camera.py) sends, without encoding it anew.

    web_camera.py --port 8000 --source rtsp://… --folder … [--auth basic|digest --user viewer]

/live.mjpeg   multipart/x-mixed-replace, as cameras send Motion JPEG
/live.ts      an endless MPEG transport stream
/live.mp4     an endless fragmented MP4
/to-file      redirects to a file of this machine
anything else is a file of the folder

With --auth every request needs the user and the password, which is the first line of standard input. Prints one JSON line
{"port": …} when it listens.
"""

import argparse
import hashlib
import http.server
import json
import os
import re
import secrets
import subprocess
import sys
from base64 import b64encode

LIVE = {
    "/live.mjpeg": ("multipart/x-mixed-replace;boundary=frame", ["-an", "-f", "mpjpeg", "-boundary_tag", "frame"]),
    "/live.ts": ("video/mp2t", ["-f", "mpegts"]),
    "/live.mp4": ("video/mp4", ["-f", "mp4", "-movflags", "+frag_every_frame+empty_moov+default_base_moof"]),
}
NONCES = set()


def md5(*parts):
    return hashlib.md5(":".join(parts).encode()).hexdigest()


def is_allowed(method, header):
    """RFC 7617 (basic) and RFC 7616 (digest, MD5, with or without qop=auth)."""
    kind, _, value = (header or "").partition(" ")
    if kind.lower() != options.auth:
        return False
    if options.auth == "basic":
        return value == b64encode(f"{options.user}:{password}".encode()).decode()
    given = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', value)}
    if given.get("username") != options.user or given.get("nonce") not in NONCES:
        return False
    one, two = md5(options.user, "camera", password), md5(method, given.get("uri", ""))
    if "qop" in given:
        expected = md5(one, given["nonce"], given.get("nc", ""), given.get("cnonce", ""), given["qop"], two)
    else:
        expected = md5(one, given["nonce"], two)
    return given.get("response") == expected


class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments):
        super().__init__(*arguments, directory=options.folder)

    def log_message(self, *_):
        pass

    def do_GET(self):
        if options.auth and not is_allowed("GET", self.headers.get("Authorization")):
            return self.challenge()
        path = self.path.partition("?")[0]
        if path == "/to-file":
            self.send_response(302)
            self.send_header("Location", f"file://{options.folder}/private/film.ts")
            self.end_headers()
        elif path in LIVE:
            self.relay(*LIVE[path])
        else:
            super().do_GET()

    def challenge(self):
        self.send_response(401)
        if options.auth == "basic":
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
        else:
            nonce = secrets.token_hex(16)
            NONCES.add(nonce)
            self.send_header("WWW-Authenticate", f'Digest realm="camera", qop="auth", algorithm=MD5, nonce="{nonce}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def relay(self, content_type, output):
        command = ["ffmpeg", "-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i", options.source, "-c", "copy"]
        with subprocess.Popen([*command, *output, "pipe:1"], stdout=subprocess.PIPE) as process:
            try:
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.end_headers()
                while data := os.read(process.stdout.fileno(), 65536):
                    self.wfile.write(data)
            except OSError:
                pass
            finally:
                process.kill()
        self.close_connection = True


parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--source")
parser.add_argument("--folder", default="/nonexistent")
parser.add_argument("--auth", choices=["basic", "digest"])
parser.add_argument("--user")
options = parser.parse_args()
password = sys.stdin.readline().rstrip("\n") if options.auth else ""
server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
print(json.dumps({"port": server.server_port}), flush=True)
server.serve_forever()
