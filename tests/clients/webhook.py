"""A receiver of webhooks for the tests: checks signatures with the code of docs/webhooks.md, as it stands there.

    webhook.py FOLDER PORT DOCUMENT

It appends each call to `calls.jsonl` in FOLDER: its type, id and data, whether the signature fits the secret in the file `secret`,
and whether the same call would be refused with another body, another secret and an old moment. It answers what the file
`answer` says, 204 where there is none.
"""

import http.server
import json
import pathlib
import re
import sys

FOLDER = pathlib.Path(sys.argv[1])
CODE = re.search(r"```python\n(.*?)```", pathlib.Path(sys.argv[3]).read_text(), re.S).group(1)
EXAMPLE = {}
exec(CODE, EXAMPLE)
verify = EXAMPLE["verify"]


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        header = self.headers["nexusroute-signature"]
        secret = (FOLDER / "secret").read_text()
        old = re.sub(r"t=\d+", "t=1600000000", header)
        event = json.loads(body)
        call = {
            "type": event["type"],
            "id": event["id"],
            "data": event["data"],
            "account": event["account"],
            "path": self.path,
            "delivery": self.headers["nexusroute-delivery"],
            "genuine": verify(secret, header, body),
            "forgeries": [
                verify(secret, header, body + b" "),
                verify(secret + "x", header, body),
                verify(secret, old, body, 300),
                verify(secret, old, body, 10**12),
                verify(secret, header.split(",")[0], body),
                verify(secret, "", body),
            ],
        }
        with open(FOLDER / "calls.jsonl", "a") as calls:
            calls.write(json.dumps(call) + "\n")
        answer = FOLDER / "answer"
        self.send_response(int(answer.read_text()) if answer.exists() else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver)
print("ready", flush=True)
server.serve_forever()
