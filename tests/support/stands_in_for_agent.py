"""Stands in for opencode: one call of the model, one of a tool, and a try at all that it must not
reach. What came of it is its answer, as an event of opencode.
"""

import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

task = sys.stdin.read()
config = json.loads(Path(os.environ["OPENCODE_CONFIG"]).read_text())


def referred(text: str) -> str:
    return Path(text.partition("{file:")[2].rstrip("}")).read_text().strip()


def post(url: str, token: str, body: object) -> str:
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    }
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def reached(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
    except OSError as error:
        return str(error.strerror or error)
    return "reached"


if "hang" in task:
    Path(os.environ["HOME"], "hangs").write_text(str(os.getpid()))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
if "fail" in task:
    sys.exit("it has no wish to work")

options = config["provider"]["agency"]["options"]
model = {"model": "small", "messages": [{"role": "user", "content": task}], "max_tokens": 50}
answer = json.loads(
    post(f"{options['baseURL']}/chat/completions", referred(options["apiKey"]), model)
)
server = config["mcp"]["agency"]
call = {"name": "web__look", "arguments": {"text": "forty-two"}}
asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
told = post(server["url"], referred(server["headers"]["Authorization"]), asked)
outside = [word.split("=")[1] for word in task.split() if word.startswith("try=")]
status = Path("/proc/self/status").read_text().splitlines()
found = {
    "said": answer["choices"][0]["message"]["content"],
    "tool": "forty-two" in told,
    "reached": {each: reached(each) for each in outside},
    "rights": [line.split()[1] for line in status if line.startswith(("CapEff", "CapBnd"))],
    "task": task,
    "environment": sorted(os.environ),
}
for event in (
    {"type": "step_start"},
    {"type": "text", "part": {"text": "not the last step"}},
    {"type": "step_start"},
    {"type": "text", "part": {"text": json.dumps(found)}},
):
    sys.stdout.write(json.dumps(event) + "\n")
