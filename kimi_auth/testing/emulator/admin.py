"""The test bench below `/_emulator/`: scripts faults, acts for the person, ends tokens, reads the state.

GET state                                   counts, families, codes, the request log
POST faults [{...}, ...]; DELETE faults     scripted answers, with the fields of `Fault`
POST approve, deny, expire {user_code}      approve or refuse a code, or end its life
POST expire_access, revoke_family {family?} end the access tokens, or the logins, of one family or of all
POST models [{id, ...}, ...]                the catalogue, with the fields of `Model`
POST membership {active}; POST reset        402 from the API; forget everything
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from .authorization_server import State
from .call import Answer, Call, json_answer
from .catalogue import Model
from .faults import Fault
from .records import CodeProblem

Command = Callable[[State, Any], object]

PROBLEM_STATUS: Final = {"unknown": 404, "expired": 410, "decided": 409, "too_many_guesses": 429}


def state_of(state: State, call: Call) -> Answer:
    return json_answer(state.snapshot())


def clear_faults(state: State, call: Call) -> Answer:
    state.clear_faults()
    return json_answer({"faults": 0})


def command(run: Command) -> Callable[[State, Call], Answer]:
    """A POST endpoint of the test bench around `run`, which gets the parsed body ({} if empty) and returns JSON."""

    def endpoint(state: State, call: Call) -> Answer:
        try:
            return json_answer(run(state, json.loads(call.body or b"{}")))
        except CodeProblem as problem:
            return json_answer({"error": problem.problem}, PROBLEM_STATUS[problem.problem])
        except (ValueError, RecursionError) as error:
            return json_answer({"error": "invalid_request", "message": str(error)}, 400)

    return endpoint


def _faults(state: State, body: Any) -> object:
    faults = [Fault.from_json(value) for value in (body if isinstance(body, list) else [body])]
    state.inject(*faults)
    return {"faults": len(faults)}


def _models(state: State, body: Any) -> object:
    if not isinstance(body, list):
        raise ValueError("models: the body is a list")
    state.models = tuple(Model.from_json(value) for value in body)
    return {"models": len(state.models)}


def _expire(state: State, body: Any) -> object:
    state.expire_code(_field(body, "user_code", str))
    return {"verdict": "expired"}


def _membership(state: State, body: Any) -> object:
    state.membership = _field(body, "active", bool)
    return {"membership": state.membership}


def _reset(state: State, body: Any) -> object:
    state.reset()
    return {"reset": True}


def _decides(verdict: Literal["approved", "denied"]) -> Command:
    return lambda state, body: {"verdict": state.decide(_field(body, "user_code", str), verdict).verdict}


def _ends(what: str, end: Callable[[State, int | None], int]) -> Command:
    return lambda state, body: {what: end(state, _field(body, "family", int, optional=True))}


COMMANDS: Final[Mapping[str, Command]] = {
    "faults": _faults,
    "models": _models,
    "approve": _decides("approved"),
    "deny": _decides("denied"),
    "expire": _expire,
    "expire_access": _ends("expired", State.expire_access),
    "revoke_family": _ends("revoked", State.revoke_family),
    "membership": _membership,
    "reset": _reset,
}


def _field(body: Any, name: str, kind: type, *, optional: bool = False) -> Any:
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    value = body.get(name)
    if type(value) is kind or (optional and value is None):
        return value
    raise ValueError(f"{name} must be a {kind.__name__}")
