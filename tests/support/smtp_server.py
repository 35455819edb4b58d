"""A mail server (aiosmtpd). Says on standard output where it listens, and then each mail that it takes, as Python's own mail parser
understands it: one JSON object a line."""

import argparse
import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def say(what):
    print(json.dumps(what), flush=True)


def parts(message):
    for part in message.walk():
        if part.is_multipart():
            yield {"type": part.get_content_type()}
            continue
        body = part.get_payload(decode=True)
        said = {
            "type": part.get_content_type(),
            "disposition": part.get_content_disposition(),
            "cid": part.get("Content-ID"),
            "size": len(body),
            "jpeg": body[:3] == b"\xff\xd8\xff" and body[-2:] == b"\xff\xd9",
            "defects": [str(defect) for defect in part.defects],
        }
        if part.get_content_maintype() == "text":
            said["text"] = part.get_content()
        yield said


class Handler:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name: str(value) for name, value in message.items()},
            "secure": session.ssl is not None,
            "authenticated": bool(session.authenticated),
            "defects": [str(defect) for defect in message.defects],
            "parts": list(parts(message)),
        })
        return "250 OK"


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tls", choices=["STARTTLS", "TLS", "None"], required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    arguments = parser.parse_args()
    user, password = json.loads(sys.stdin.readline())

    def authenticate(server, session, envelope, mechanism, data):
        ok = (isinstance(data, LoginPassword) and data.login.decode() == user and data.password.decode() == password)
        return AuthResult(success=ok, handled=False)

    context = None
    if arguments.tls != "None":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.certificate, arguments.key)
    starttls = arguments.tls == "STARTTLS"
    needs_login = bool(user)

    def serve():
        return SMTP(
            Handler(),
            hostname="mail.test",
            tls_context=context if starttls else None,
            require_starttls=starttls,
            auth_required=needs_login,
            auth_require_tls=starttls,
            authenticator=authenticate if needs_login else None,
        )

    server = await asyncio.get_running_loop().create_server(
        serve, "127.0.0.1", arguments.port, ssl=context if arguments.tls == "TLS" else None
    )
    say({"port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


asyncio.run(main())
