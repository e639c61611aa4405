"""No other path reaches a tool: one module sends `tools/call`, and one function calls that."""

import ast
from collections.abc import Iterator
from pathlib import Path

import agency

ROOT = Path(agency.__file__).parent
GATEWAY = ROOT / "agent" / "gateway"


def modules(*words: str) -> Iterator[tuple[str, ast.Module]]:
    """The modules whose text has one of the words."""
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text()
        if any(word in text for word in words):
            yield str(path.relative_to(ROOT)), ast.parse(text)


def names(tree: ast.AST) -> set[str]:
    found = {each.attr for each in ast.walk(tree) if isinstance(each, ast.Attribute)}
    found |= {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)}
    for each in ast.walk(tree):
        if isinstance(each, ast.ImportFrom):
            found |= {alias.name for alias in each.names}
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            found |= {each.value} & {"tools/call", "call_tool"}
    return found


def places(*wanted: str) -> set[str]:
    return {where for where, tree in modules(*wanted) if names(tree) & set(wanted)}


def test_one_module_makes_mcp_sessions_as_a_client() -> None:
    """The builtin program asks its gateway, and that at the one address that it is given."""
    assert places("ClientSession") - http_clients() == {"agent/gateway/servers/connection.py"}
    assert places("tools/call") == {"agent/programs/gateway_tools.py"}


def http_clients() -> set[str]:
    """Modules whose `ClientSession` is that of aiohttp."""
    return {
        where
        for where, tree in modules("ClientSession")
        if any(
            isinstance(each, ast.Attribute)
            and each.attr == "ClientSession"
            and isinstance(each.value, ast.Name)
            and each.value.id == "aiohttp"
            for each in ast.walk(tree)
        )
        or any(
            isinstance(each, ast.ImportFrom)
            and each.module == "aiohttp"
            and any(alias.name == "ClientSession" for alias in each.names)
            for each in ast.walk(tree)
        )
    }


def test_one_module_sends_a_call_of_a_tool() -> None:
    # The front receives them, and hands them to the dispatcher; so does a server of tools.
    receivers = {
        "agent/gateway/front.py",
        "workspace/servers/serving.py",
        "spinup/targets/incus/parts/agents/tools.py",
    }
    senders = {"agent/gateway/servers/connection.py"}
    assert places("CallToolRequest", "CallToolRequestParams") == senders | receivers
    assert places("send_request") == {"agent/gateway/servers/connection.py"}
    front = ast.parse((GATEWAY / "front.py").read_text())
    assert "Servers" not in names(front)
    assert "dispatcher" in names(front)


def callers(tree: ast.Module, method: str, of: str) -> list[str]:
    """Functions that call `….of.method(…)` or `of.method(…)`."""
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for each in ast.walk(function):
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
                value = each.func.value
                last = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
                if each.func.attr == method and last == of:
                    found.append(function.name)
    return found


def test_the_dispatcher_is_the_one_caller_of_the_servers() -> None:
    chain = {}
    for path in sorted(GATEWAY.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for of in ("tools", "server", "connection", "servers"):
            for function in callers(tree, "call", of):
                chain.setdefault(f"{of}.call", []).append(f"{path.name}:{function}")
    assert chain == {
        "tools.call": ["dispatch.py:_make"],
        "server.call": ["servers.py:call"],
        "connection.call": ["running.py:call"],
    }


def test_a_call_is_made_after_it_was_judged_recorded_and_noted() -> None:
    """The order inside the dispatcher, as its source has it."""
    tree = ast.parse((GATEWAY / "calls" / "dispatch.py").read_text())
    functions = {
        each.name: ast.unparse(each)
        for each in ast.walk(tree)
        if isinstance(each, ast.AsyncFunctionDef)
    }
    go, make = functions["_go"], functions["_make"]
    assert go.index("judge(") < go.index("_record_decision(") < go.index("_make(")
    assert make.index("journal.add(begun)") < make.index("tools.call(")
    makers = [name for name, text in functions.items() if "self._make(" in text]
    assert makers == ["_go"]
