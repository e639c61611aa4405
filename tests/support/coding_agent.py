#!/opt/agency/bin/python3 -I
"""Stands in for opencode, with a shell: what its model asks for it runs, until it answers.

It reads opencode's configuration, and offers the gateway's tools; its shell only if it may.
"""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

config = json.loads(Path(os.environ["OPENCODE_CONFIG"]).read_text())
options, server = config["provider"]["agency"]["options"], config["mcp"]["agency"]
has_shell = config["permission"]["*"] == "allow"


def post(url: str, reference: str, body: object) -> dict:
    token = Path(reference.partition("{file:")[2].rstrip("}")).read_text().strip()
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    }
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    found = [line.removeprefix("data: ") for line in lines if line.startswith(("{", "data: {"))]
    return dict(json.loads(found[-1]))


def gateway(method: str, params: dict) -> dict:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return dict(post(server["url"], server["headers"]["Authorization"], body)["result"])


def used(name: str, arguments: dict) -> str:
    if name != "bash":
        call = {"name": name.removeprefix("agency_"), "arguments": arguments}
        return json.dumps(gateway("tools/call", call))
    if not has_shell:
        return "there is no such tool"
    done = subprocess.run(
        ["/bin/sh", "-c", arguments["command"]], capture_output=True, text=True, timeout=60
    )
    return done.stdout + done.stderr + f"\nexit {done.returncode}"


def described(name: str, schema: object) -> dict:
    return {"type": "function", "function": {"name": name, "parameters": schema}}


tools = [
    described(f"agency_{each['name']}", each["inputSchema"])
    for each in gateway("tools/list", {})["tools"]
]
if has_shell:
    tools.append(described("bash", {"type": "object"}))
messages: list = [{"role": "user", "content": sys.stdin.read()}]
text = ""
while not text:
    asked = {"model": "small", "messages": messages, "tools": tools, "max_tokens": 50}
    told = post(f"{options['baseURL']}/chat/completions", options["apiKey"], asked)
    said = told["choices"][0]["message"]
    messages.append(said)
    for call in said.get("tool_calls") or []:
        function = call["function"]
        content = used(function["name"], json.loads(function["arguments"]))
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})
    text = said.get("content") or ""
for event in ({"type": "step_start"}, {"type": "text", "part": {"text": text}}):
    sys.stdout.write(json.dumps(event) + "\n")
