"""A mail server for the tests of the desk's notifications: aiosmtpd, and what it got as JSON lines.

    mail_server.py PORT FILE [--certificate PEM --key PEM] [--refuse ADDRESS]

With a certificate STARTTLS comes before anything else, and the user "desk" with the password
"a word" before any mail. Prints "ready".
"""

import argparse
import json
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


class Recorder:
    """Writes each message, and how it came, to a file."""

    def __init__(self, path, refused):
        self.path = path
        self.refused = refused

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == self.refused:
            return f"550 no {address} here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        line = {
            "tls": session.ssl is not None,
            "user": session.authenticated,
            "helo": session.host_name,
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "text": envelope.original_content.decode("ascii"),
        }
        with open(self.path, "a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == b"desk" and data.password == b"a word"
    return AuthResult(success=good, handled=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("file")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--refuse")
    args = parser.parse_args()
    settings = {}
    if args.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.certificate, args.key)
        settings = {
            "tls_context": context,
            "require_starttls": True,
            "authenticator": authenticate,
            "auth_required": True,
        }
    recorder = Recorder(args.file, args.refuse)
    controller = Controller(recorder, hostname="127.0.0.1", port=args.port, **settings)
    controller.start()
    print("ready", flush=True)
    # Until whoever started it is gone.
    sys.stdin.read()


if __name__ == "__main__":
    main()
