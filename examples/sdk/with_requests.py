"""requests: after a 401 the request is sent again with a newer token."""

import sys

import requests

from kimi_auth import Session
from kimi_auth.clients import RequestsAuth

session = Session()
with requests.Session() as http:
    http.auth = RequestsAuth(session)
    for line in sys.stdin:
        body = {"model": "kimi-for-coding", "messages": [{"role": "user", "content": line}]}
        answer = http.post(f"{session.api_origin}/chat/completions", json=body)
        answer.raise_for_status()
        print(answer.json()["choices"][0]["message"]["content"], flush=True)
