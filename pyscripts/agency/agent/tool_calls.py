"""Endpoints of ACP that the agent's tool gateway answers: calls of tools, approvals, decisions."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from pydantic import BaseModel

from agency.agent.calling import ApiCall, Refused
from agency.agent.state import AgentState
from agency.protocols import (
    ApprovalDecision,
    GatewayClient,
    GatewayLostError,
    GatewayRefusedError,
    GatewayUnreachableError,
    ToolCall,
)

AnswerT = TypeVar("AnswerT", bound=BaseModel)


async def list_approvals(state: AgentState, _: ApiCall) -> BaseModel:
    """List the calls that wait for a person."""
    return await _known(_client(state).approvals())


async def decide_approval(state: AgentState, call: ApiCall) -> BaseModel:
    """Hand a person's decision to the gateway, which checks it."""
    assert isinstance(call.message, ApprovalDecision)
    return await _known(_client(state).decide(call.path["id"], call.message))


async def call_tool(state: AgentState, call: ApiCall) -> BaseModel:
    """Have the gateway judge a call, and make it."""
    assert isinstance(call.message, ToolCall)
    try:
        return await _answer(_client(state).call(call.message, call.trace))
    except GatewayLostError as error:
        # Not 503, after which the same key would try again.
        text = "the gateway gave no answer; the call may have been made"
        raise Refused(409, text, "outcome-unknown") from error


async def _known(asked: Awaitable[AnswerT]) -> AnswerT:
    """Wait for an answer whose loss does no harm: the same may be asked again."""
    try:
        return await _answer(asked)
    except GatewayLostError as error:
        raise Refused(503, error.message, "unreachable") from error


def _client(state: AgentState) -> GatewayClient:
    if state.gateway is None:
        raise Refused(501, "this agent has no tool gateway", "not-implemented")
    return state.gateway.client


async def _answer(asked: Awaitable[AnswerT]) -> AnswerT:
    try:
        return await asked
    except GatewayRefusedError as error:
        problem = error.problem
        raise Refused(error.status, problem.error, problem.code, problem.failed) from error
    except GatewayLostError:
        raise
    except GatewayUnreachableError as error:
        raise Refused(503, error.message, "unreachable") from error
