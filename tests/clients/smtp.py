"""A mail server for the tests: aiosmtpd, with TLS, a login, and faults on demand.

    smtp.py FOLDER PORT starttls|tls|none

In FOLDER it makes `ca.pem` (the authority of its certificate for localhost) unless it is there, appends each mail that it takes to
`mails.jsonl`, and reads `fault` at every mail: a line such as `rcpt 550 no such user` or `data 451 come back later` is what it
answers at that command. The login is `gateway` with `a mail password`; without TLS it asks for none.
"""

import datetime
import email
import email.policy
import ipaddress
import json
import pathlib
import signal
import ssl
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FOLDER = pathlib.Path(sys.argv[1])
PORT = int(sys.argv[2])
SECURITY = sys.argv[3]
LOGIN = LoginPassword(b"gateway", b"a mail password")


def certificate(name, key, issuer, issuer_key, extensions):
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def make_certificates():
    if (FOLDER / "ca.pem").exists():
        return
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = certificate("tests", ca_key, None, ca_key, [(x509.BasicConstraints(ca=True, path_length=0), True)])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = certificate("localhost", key, ca.subject, ca_key, [(names, False), (x509.BasicConstraints(ca=False, path_length=None), True)])
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (FOLDER / "server.pem").write_bytes(secret + leaf.public_bytes(pem))
    (FOLDER / "ca.pem").write_bytes(ca.public_bytes(pem))


def fault(command):
    try:
        where, _, answer = (FOLDER / "fault").read_text().strip().partition(" ")
    except FileNotFoundError:
        return None
    return answer if where == command else None


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if answer := fault("rcpt"):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if answer := fault("data"):
            return answer
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "sender": message["From"],
            "subject": message["Subject"],
            "message_id": message["Message-ID"],
            "auto_submitted": message["Auto-Submitted"],
            "text": message.get_body(("plain",)).get_content(),
            "html": message.get_body(("html",)).get_content(),
            "tls": server.transport.get_extra_info("ssl_object") is not None,
            "authenticated": bool(session.authenticated),
        }
        with (FOLDER / "mails.jsonl").open("a", encoding="utf-8") as mails:
            mails.write(json.dumps(mail) + "\n")
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data == LOGIN)


def main():
    make_certificates()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(FOLDER / "server.pem")
    secure = SECURITY != "none"
    terms = {"authenticator": authenticate, "auth_required": secure}
    if SECURITY == "starttls":
        terms.update(tls_context=context, require_starttls=True)
    elif SECURITY == "tls":
        # aiosmtpd does not see that TLS was there from the first byte.
        terms.update(ssl_context=context, auth_require_tls=False)
    server = Controller(Handler(), hostname="127.0.0.1", port=PORT, **terms)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server.start()
    print("ready", flush=True)
    stop.wait()
    server.stop()


main()
