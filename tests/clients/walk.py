"""Makes calls with an official client in Python and prints what it saw, for the system tests to judge.

Usage: walk.py openai|anthropic|google. The gateway's address and the key come from the variables that the client itself
reads, as for any program of a user. Reads a JSON list of steps from standard input:
    {"do": "models"}                                                    lists the models
    {"do": "chat", "model", "prompt", "stream"?, "system"?, "image"?, "max_tokens"?, "include_usage"?}
    {"do": "tools", "model", "prompt", "stream"?}                       answers the calls it gets, and asks again
    {"do": "respond", "model", "prompt", "stream"?, "tools"?}           (openai) the same with responses
    {"do": "count", "model", "prompt"}                                  (anthropic, google) counts tokens
    {"do": "embed", "model", "input": [...], "float"?}                  (openai, google); "float": not as base64
where "image" is a PNG in base64 and any step may have a "key" of its own, and prints a JSON list with an answer for each: what the client's own types hold, or the
exception that it raised and what it had said by then. `walk.mjs` does the same with the clients from npm.
"""

import base64
import json
import os
import sys

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "A city's name."}},
    "required": ["city"],
}
ABOUT = "Tells the weather of a city."


def weather(arguments):
    return f"{arguments['city']}: 7 degrees"


class OpenAi:
    def __init__(self, key):
        import openai

        # No retries: the tests want to see the first answer.
        self.client = openai.OpenAI(api_key=key, max_retries=0, timeout=60)

    def models(self, step):
        return {"models": [model.id for model in self.client.models.list()]}

    def ask(self, step, messages, tools=None, seen=None):
        arguments = {"model": step["model"], "messages": messages}
        if step.get("max_tokens"):
            arguments["max_tokens"] = step["max_tokens"]
        if tools:
            arguments["tools"] = tools
        if not step.get("stream"):
            raw = self.client.chat.completions.with_raw_response.create(**arguments)
            completion = raw.parse()
            [choice] = completion.choices
            return choice.message, {
                "request_id": raw.headers.get("x-request-id"),
                "client_request_id": completion._request_id,
                "model": completion.model,
                "text": choice.message.content,
                "finish_reason": choice.finish_reason,
                "calls": [openai_call(call) for call in choice.message.tool_calls or []],
                "usage": completion.usage and completion.usage.model_dump(exclude_none=True),
            }
        if step.get("include_usage"):
            arguments["stream_options"] = {"include_usage": True}
        raw = self.client.chat.completions.with_raw_response.create(stream=True, **arguments)
        seen["request_id"] = raw.headers.get("x-request-id")
        # The client's own accumulator, which is strict about indices and kinds.
        from openai.lib.streaming.chat._completions import ChatCompletionStreamState

        state = ChatCompletionStreamState()
        usage, without_choices = None, 0
        for chunk in raw.parse():
            if not chunk.choices:
                without_choices += 1
            for choice in chunk.choices:
                if choice.delta.content:
                    seen["text"] += choice.delta.content
                    seen["pieces"] += 1
            if chunk.usage:
                usage = chunk.usage.model_dump(exclude_none=True)
            state.handle_chunk(chunk)
        completion = state.get_final_completion()
        [choice] = completion.choices
        assert (choice.message.content or "") == seen["text"], completion
        return choice.message, {
            **seen,
            "model": completion.model,
            "finish_reason": choice.finish_reason,
            "calls": [openai_call(call) for call in choice.message.tool_calls or []],
            "usage": usage,
            "chunks_without_choices": without_choices,
        }

    def chat(self, step, seen):
        messages = [{"role": "system", "content": step["system"]}] if step.get("system") else []
        content = step["prompt"]
        if step.get("image"):
            url = "data:image/png;base64," + step["image"]
            content = [{"type": "text", "text": content}, {"type": "image_url", "image_url": {"url": url}}]
        return self.ask(step, [*messages, {"role": "user", "content": content}], seen=seen)[1]

    def tools(self, step, seen):
        tools = [{"type": "function", "function": {"name": "weather", "description": ABOUT, "parameters": WEATHER}}]
        messages = [{"role": "user", "content": step["prompt"]}]
        message, first = self.ask(step, messages, tools, seen)
        messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        for call in message.tool_calls or []:
            result = weather(json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        _, second = self.ask(step, messages, tools, begin(seen))
        return {"turns": [first, second]}

    def respond(self, step, seen):
        tools = [{"type": "function", "name": "weather", "description": ABOUT, "parameters": WEATHER, "strict": False}]
        items = [{"role": "user", "content": step["prompt"]}]
        turns = []
        while True:
            arguments = {"model": step["model"], "input": items, "store": False}
            if step.get("tools"):
                arguments["tools"] = tools
            if step.get("stream"):
                # The client's own accumulator, as in `ask`.
                with self.client.responses.stream(**arguments) as stream:
                    seen["request_id"] = stream._response.headers.get("x-request-id")
                    for event in stream:
                        if event.type == "response.output_text.delta":
                            seen["text"] += event.delta
                            seen["pieces"] += 1
                    response = stream.get_final_response()
                assert response.output_text == seen["text"], response
            else:
                raw = self.client.responses.with_raw_response.create(**arguments)
                response = raw.parse()
                seen["request_id"] = raw.headers.get("x-request-id")
            calls = [item for item in response.output if item.type == "function_call"]
            turns.append({
                **seen,
                "model": response.model,
                "text": response.output_text,
                "finish_reason": response.status,
                "calls": [{"name": call.name, "arguments": json.loads(call.arguments)} for call in calls],
                "usage": response.usage and response.usage.model_dump(exclude_none=True),
            })
            if not calls or len(turns) == 2:
                return {"turns": turns}
            begin(seen)
            for item in response.output:
                items.append(item.model_dump(exclude_none=True, exclude={"parsed_arguments", "status", "parsed"}))
            for call in calls:
                output = weather(json.loads(call.arguments))
                items.append({"type": "function_call_output", "call_id": call.call_id, "output": output})

    def embed(self, step):
        arguments = {"model": step["model"], "input": step["input"]}
        if step.get("float"):
            arguments["encoding_format"] = "float"
        raw = self.client.embeddings.with_raw_response.create(**arguments)
        answer = raw.parse()
        return {
            "request_id": raw.headers.get("x-request-id"),
            "model": answer.model,
            "vectors": [item.embedding for item in answer.data],
            "usage": answer.usage.model_dump(),
        }

    def failed(self, error):
        return {
            "status": getattr(error, "status_code", None),
            "code": getattr(error, "code", None),
            "kind": getattr(error, "type", None),
            "message": getattr(error, "message", None) or str(error),
            "client_request_id": getattr(error, "request_id", None),
        }


def openai_call(call):
    return {"name": call.function.name, "arguments": json.loads(call.function.arguments)}


class Anthropic:
    def __init__(self, key):
        import anthropic

        self.client = anthropic.Anthropic(api_key=key, max_retries=0, timeout=60)

    def models(self, step):
        return {"models": [model.id for model in self.client.models.list()]}

    def ask(self, step, messages, tools=None, seen=None):
        arguments = {"model": step["model"], "messages": messages, "max_tokens": step.get("max_tokens", 500)}
        if step.get("system"):
            arguments["system"] = step["system"]
        if tools:
            arguments["tools"] = tools
        if step.get("stream"):
            with self.client.messages.stream(**arguments) as stream:
                seen["request_id"] = stream.response.headers.get("x-request-id")
                for piece in stream.text_stream:
                    seen["text"] += piece
                    seen["pieces"] += bool(piece)
                message = stream.get_final_message()
                seen["client_request_id"] = stream.request_id
        else:
            raw = self.client.messages.with_raw_response.create(**arguments)
            message = raw.parse()
            seen["request_id"] = raw.headers.get("x-request-id")
            seen["client_request_id"] = message._request_id
        text = "".join(block.text for block in message.content if block.type == "text")
        if step.get("stream"):
            assert text == seen["text"], message
        calls = [block for block in message.content if block.type == "tool_use"]
        return message, {
            **seen,
            "model": message.model,
            "text": text,
            "finish_reason": message.stop_reason,
            "calls": [{"name": call.name, "arguments": call.input} for call in calls],
            "usage": message.usage.model_dump(exclude_none=True),
        }

    def chat(self, step, seen):
        content = step["prompt"]
        if step.get("image"):
            source = {"type": "base64", "media_type": "image/png", "data": step["image"]}
            content = [{"type": "image", "source": source}, {"type": "text", "text": content}]
        return self.ask(step, [{"role": "user", "content": content}], seen=seen)[1]

    def tools(self, step, seen):
        tools = [{"name": "weather", "description": ABOUT, "input_schema": WEATHER}]
        messages = [{"role": "user", "content": step["prompt"]}]
        message, first = self.ask(step, messages, tools, seen)
        messages.append({"role": "assistant", "content": message.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": weather(block.input)}
            for block in message.content
            if block.type == "tool_use"
        ]
        messages.append({"role": "user", "content": results})
        _, second = self.ask(step, messages, tools, begin(seen))
        return {"turns": [first, second]}

    def count(self, step):
        counted = self.client.messages.count_tokens(
            model=step["model"], messages=[{"role": "user", "content": step["prompt"]}]
        )
        return {"tokens": counted.input_tokens}

    def failed(self, error):
        body = getattr(error, "body", None)
        inner = body.get("error") if isinstance(body, dict) else None
        return {
            "status": getattr(error, "status_code", None),
            "kind": (inner or {}).get("type"),
            "message": (inner or {}).get("message") or str(error),
            "client_request_id": getattr(error, "request_id", None),
        }


class Google:
    def __init__(self, key):
        from google import genai

        self.client = genai.Client(api_key=key)

    def models(self, step):
        return {"models": [model.name for model in self.client.models.list(config={"query_base": True})]}

    def ask(self, step, contents, tools=None, seen=None):
        config = {"max_output_tokens": step.get("max_tokens", 500)}
        if step.get("system"):
            config["system_instruction"] = step["system"]
        if tools:
            config["tools"] = tools
            config["automatic_function_calling"] = {"disable": True}
        arguments = {"model": step["model"], "contents": contents, "config": config}
        usage, finish, parts, model = None, None, [], None
        if step.get("stream"):
            answers = self.client.models.generate_content_stream(**arguments)
        else:
            answers = [self.client.models.generate_content(**arguments)]
        for answer in answers:
            headers = answer.sdk_http_response and answer.sdk_http_response.headers or {}
            seen["request_id"] = headers.get("x-request-id") or seen["request_id"]
            usage = answer.usage_metadata or usage
            model = answer.model_version or model
            for candidate in answer.candidates or []:
                finish = candidate.finish_reason or finish
                for part in (candidate.content and candidate.content.parts) or []:
                    parts.append(part)
                    if part.text:
                        seen["text"] += part.text
                        seen["pieces"] += 1
        calls = [part.function_call for part in parts if part.function_call]
        return parts, {
            **seen,
            "model": model,
            "finish_reason": finish and finish.value,
            "calls": [{"name": call.name, "arguments": call.args} for call in calls],
            "usage": usage and usage.model_dump(mode="json", exclude_none=True),
        }

    def chat(self, step, seen):
        from google.genai import types

        parts = [types.Part.from_text(text=step["prompt"])]
        if step.get("image"):
            parts.append(types.Part.from_bytes(data=base64.b64decode(step["image"]), mime_type="image/png"))
        return self.ask(step, [types.Content(role="user", parts=parts)], seen=seen)[1]

    def tools(self, step, seen):
        from google.genai import types

        declaration = types.FunctionDeclaration(name="weather", description=ABOUT, parameters_json_schema=WEATHER)
        tools = [types.Tool(function_declarations=[declaration])]
        contents = [types.Content(role="user", parts=[types.Part.from_text(text=step["prompt"])])]
        parts, first = self.ask(step, contents, tools, seen)
        contents.append(types.Content(role="model", parts=parts))
        answers = []
        for part in parts:
            if part.function_call:
                call = part.function_call
                answer = types.FunctionResponse(id=call.id, name=call.name, response={"result": weather(call.args)})
                answers.append(types.Part(function_response=answer))
        contents.append(types.Content(role="user", parts=answers))
        _, second = self.ask(step, contents, tools, begin(seen))
        return {"turns": [first, second]}

    def count(self, step):
        counted = self.client.models.count_tokens(model=step["model"], contents=step["prompt"])
        return {"tokens": counted.total_tokens}

    def embed(self, step):
        answer = self.client.models.embed_content(model=step["model"], contents=step["input"])
        headers = answer.sdk_http_response and answer.sdk_http_response.headers or {}
        return {
            "request_id": headers.get("x-request-id"),
            "vectors": [item.values for item in answer.embeddings],
        }

    def failed(self, error):
        return {
            "status": getattr(error, "code", None),
            "kind": getattr(error, "status", None),
            "message": getattr(error, "message", None) or str(error),
        }


def begin(seen):
    """What a stream said so far, kept where an exception leaves it."""
    seen.clear()
    seen.update({"request_id": None, "text": "", "pieces": 0})
    return seen


def main():
    kind = {"openai": OpenAi, "anthropic": Anthropic, "google": Google}[sys.argv[1]]
    answers = []
    for step in json.load(sys.stdin):
        # Without a key the client looks for one in its own variable.
        client = kind(step.get("key"))
        seen = begin({})
        do = getattr(client, step["do"])
        try:
            answers.append(do(step, seen) if step["do"] in ("chat", "tools", "respond") else do(step))
        except Exception as error:  # whatever the client raises is what its user sees
            headers = getattr(getattr(error, "response", None), "headers", None) or {}
            seen["request_id"] = headers.get("x-request-id") or seen["request_id"]
            answers.append({**seen, "exception": type(error).__name__, **client.failed(error)})
    json.dump(answers, sys.stdout)


main()
