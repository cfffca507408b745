"""Celery: the workers share the login. Start: celery --workdir examples/sdk -A with_celery worker"""

import os

from celery import Celery
from openai import OpenAI

from kimi_auth import Session

session = Session()
client = OpenAI(base_url=session.api_origin, api_key=session.access_token_sync)
app = Celery("with_celery", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])


@app.task
def ask(line: str) -> str | None:
    answer = client.chat.completions.create(model="kimi-for-coding", messages=[{"role": "user", "content": line}])
    return answer.choices[0].message.content
