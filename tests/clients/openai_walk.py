"""Makes calls with the official OpenAI client and prints what it saw, for the system tests to judge.

Reads a JSON list of steps from standard input:
    {"do": "models"}
    {"do": "chat", "model": …, "prompt": …, "stream": bool, "include_usage": bool, "max_tokens": int?}
and prints a JSON list with an answer for each: what the client's own types hold, or the exception that it raised.
The gateway's address and the key come from OPENAI_BASE_URL and OPENAI_API_KEY, as for any program of a user.
"""

import json
import sys

import openai


def chat(client, step):
    arguments = {"model": step["model"], "messages": [{"role": "user", "content": step["prompt"]}]}
    if step.get("max_tokens"):
        arguments["max_tokens"] = step["max_tokens"]
    if not step.get("stream"):
        raw = client.chat.completions.with_raw_response.create(**arguments)
        completion = raw.parse()
        return {
            "request_id": raw.headers.get("x-request-id"),
            "model": completion.model,
            "text": completion.choices[0].message.content,
            "finish_reason": completion.choices[0].finish_reason,
            "usage": completion.usage and completion.usage.model_dump(exclude_none=True),
        }
    if step.get("include_usage"):
        arguments["stream_options"] = {"include_usage": True}
    raw = client.chat.completions.with_raw_response.create(stream=True, **arguments)
    pieces, usage, chunks_without_choices, finish_reason = [], None, 0, None
    for chunk in raw.parse():
        if not chunk.choices:
            chunks_without_choices += 1
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finish_reason = choice.finish_reason or finish_reason
        if chunk.usage:
            usage = chunk.usage.model_dump(exclude_none=True)
    return {
        "request_id": raw.headers.get("x-request-id"),
        "text": "".join(pieces),
        "pieces": len([piece for piece in pieces if piece]),
        "finish_reason": finish_reason,
        "usage": usage,
        "chunks_without_choices": chunks_without_choices,
    }


def main():
    # No retries: the tests want to see the first answer.
    client = openai.OpenAI(max_retries=0, timeout=60)
    answers = []
    for step in json.load(sys.stdin):
        try:
            if step["do"] == "models":
                answers.append({"models": [model.id for model in client.models.list()]})
            else:
                answers.append(chat(client, step))
        except openai.APIStatusError as error:
            answers.append({"exception": type(error).__name__, "status": error.status_code, "code": error.code, "message": error.message})
        except openai.APIError as error:
            answers.append({"exception": type(error).__name__, "status": None, "code": error.code, "message": error.message})
    json.dump(answers, sys.stdout)


main()
