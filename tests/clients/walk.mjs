// Makes calls with an official client from npm and prints what it saw, for the system tests to judge. The steps and the
// answers are those of `walk.py`.

const WEATHER = {
  type: 'object',
  properties: { city: { type: 'string', description: "A city's name." } },
  required: ['city'],
};
const ABOUT = 'Tells the weather of a city.';
const weather = ({ city }) => `${city}: 7 degrees`;

class OpenAi {
  static async create(key) {
    const { default: Client } = await import('openai');
    // No retries: the tests want to see the first answer.
    return Object.assign(new OpenAi(), { client: new Client({ ...(key && { apiKey: key }), maxRetries: 0, timeout: 60_000 }) });
  }

  async models() {
    const models = [];
    for await (const model of this.client.models.list()) models.push(model.id);
    return { models };
  }

  async ask(step, messages, tools, seen) {
    const body = { model: step.model, messages };
    if (step.max_tokens) body.max_tokens = step.max_tokens;
    if (tools) body.tools = tools;
    let completion;
    let usage;
    let withoutChoices = 0;
    if (step.stream) {
      if (step.include_usage) body.stream_options = { include_usage: true };
      const stream = await this.client.chat.completions.create({ ...body, stream: true });
      const [forUs, forThem] = stream.tee();
      // The client's own accumulator, which is strict about indices and kinds.
      const { ChatCompletionStream } = await import('openai/lib/ChatCompletionStream');
      const whole = ChatCompletionStream.fromReadableStream(forThem.toReadableStream()).finalChatCompletion();
      whole.catch(() => {});
      for await (const chunk of forUs) {
        if (chunk.choices.length === 0) withoutChoices += 1;
        for (const choice of chunk.choices) {
          if (choice.delta.content) {
            seen.text += choice.delta.content;
            seen.pieces += 1;
          }
        }
        if (chunk.usage) usage = chunk.usage;
      }
      completion = await whole;
      same(completion.choices[0].message.content ?? '', seen.text);
    } else {
      completion = await this.client.chat.completions.create(body);
      seen.client_request_id = completion._request_id;
      usage = completion.usage;
    }
    same(completion.choices.length, 1);
    const [choice] = completion.choices;
    const answer = {
      ...seen,
      model: completion.model,
      text: choice.message.content,
      finish_reason: choice.finish_reason,
      calls: (choice.message.tool_calls ?? []).map(openAiCall),
      usage: usage ?? null,
      chunks_without_choices: withoutChoices,
    };
    return [choice.message, answer];
  }

  async chat(step, seen) {
    const messages = step.system ? [{ role: 'system', content: step.system }] : [];
    let content = step.prompt;
    if (step.image) {
      const url = `data:image/png;base64,${step.image}`;
      content = [{ type: 'text', text: content }, { type: 'image_url', image_url: { url } }];
    }
    return (await this.ask(step, [...messages, { role: 'user', content }], undefined, seen))[1];
  }

  async tools(step, seen) {
    const tools = [{ type: 'function', function: { name: 'weather', description: ABOUT, parameters: WEATHER } }];
    const messages = [{ role: 'user', content: step.prompt }];
    const [message, first] = await this.ask(step, messages, tools, seen);
    messages.push(message);
    for (const call of message.tool_calls ?? []) {
      messages.push({ role: 'tool', tool_call_id: call.id, content: weather(JSON.parse(call.function.arguments)) });
    }
    const [, second] = await this.ask(step, messages, tools, begin(seen));
    return { turns: [first, second] };
  }

  async respond(step, seen) {
    const tools = [{ type: 'function', name: 'weather', description: ABOUT, parameters: WEATHER, strict: false }];
    const input = [{ role: 'user', content: step.prompt }];
    const turns = [];
    for (;;) {
      const body = { model: step.model, input, store: false };
      if (step.tools) body.tools = tools;
      let response;
      if (step.stream) {
        // The client's own accumulator, as in `ask`.
        const stream = this.client.responses.stream(body);
        for await (const event of stream) {
          if (event.type === 'response.output_text.delta') {
            seen.text += event.delta;
            seen.pieces += 1;
          }
        }
        response = await stream.finalResponse();
        same(response.output_text, seen.text);
      } else {
        response = await this.client.responses.create(body);
      }
      const calls = response.output.filter((item) => item.type === 'function_call');
      turns.push({
        ...seen,
        model: response.model,
        text: response.output_text,
        finish_reason: response.status,
        calls: calls.map((call) => ({ name: call.name, arguments: JSON.parse(call.arguments) })),
        usage: response.usage ?? null,
      });
      if (calls.length === 0 || turns.length === 2) return { turns };
      begin(seen);
      input.push(...response.output.map(({ parsed_arguments, ...item }) => item));
      for (const call of calls) {
        const output = weather(JSON.parse(call.arguments));
        input.push({ type: 'function_call_output', call_id: call.call_id, output });
      }
    }
  }

  async embed(step, seen) {
    const body = { model: step.model, input: step.input };
    if (step.float) body.encoding_format = 'float';
    const data = await this.client.embeddings.create(body);
    return {
      ...seen,
      model: data.model,
      vectors: data.data.map((item) => item.embedding),
      usage: data.usage,
    };
  }

  failed(error) {
    return { status: error.status ?? null, code: error.code ?? null, kind: error.type ?? null, message: error.message, client_request_id: error.requestID ?? null };
  }
}

const openAiCall = (call) => ({ name: call.function.name, arguments: JSON.parse(call.function.arguments) });

class Anthropic {
  static async create(key) {
    const { default: Client } = await import('@anthropic-ai/sdk');
    return Object.assign(new Anthropic(), { client: new Client({ ...(key && { apiKey: key }), maxRetries: 0, timeout: 60_000 }) });
  }

  async models() {
    const models = [];
    for await (const model of this.client.models.list()) models.push(model.id);
    return { models };
  }

  async ask(step, messages, tools, seen) {
    const body = { model: step.model, messages, max_tokens: step.max_tokens ?? 500 };
    if (step.system) body.system = step.system;
    if (tools) body.tools = tools;
    let message;
    if (step.stream) {
      const stream = this.client.messages.stream(body);
      stream.on('text', (piece) => {
        seen.text += piece;
        seen.pieces += piece ? 1 : 0;
      });
      message = await stream.finalMessage();
      seen.client_request_id = stream.request_id;
    } else {
      message = await this.client.messages.create(body);
      seen.client_request_id = message._request_id;
    }
    const text = message.content.filter((block) => block.type === 'text').map((block) => block.text).join('');
    if (step.stream) same(text, seen.text);
    const calls = message.content.filter((block) => block.type === 'tool_use');
    const answer = {
      ...seen,
      model: message.model,
      text,
      finish_reason: message.stop_reason,
      calls: calls.map((call) => ({ name: call.name, arguments: call.input })),
      usage: message.usage,
    };
    return [message, answer];
  }

  async chat(step, seen) {
    let content = step.prompt;
    if (step.image) {
      const source = { type: 'base64', media_type: 'image/png', data: step.image };
      content = [{ type: 'image', source }, { type: 'text', text: content }];
    }
    return (await this.ask(step, [{ role: 'user', content }], undefined, seen))[1];
  }

  async tools(step, seen) {
    const tools = [{ name: 'weather', description: ABOUT, input_schema: WEATHER }];
    const messages = [{ role: 'user', content: step.prompt }];
    const [message, first] = await this.ask(step, messages, tools, seen);
    messages.push({ role: 'assistant', content: message.content });
    const results = message.content
      .filter((block) => block.type === 'tool_use')
      .map((block) => ({ type: 'tool_result', tool_use_id: block.id, content: weather(block.input) }));
    messages.push({ role: 'user', content: results });
    const [, second] = await this.ask(step, messages, tools, begin(seen));
    return { turns: [first, second] };
  }

  async count(step) {
    const messages = [{ role: 'user', content: step.prompt }];
    return { tokens: (await this.client.messages.countTokens({ model: step.model, messages })).input_tokens };
  }

  failed(error) {
    const inner = error.error?.error;
    return { status: error.status ?? null, kind: inner?.type ?? null, message: inner?.message ?? error.message, client_request_id: error.requestID ?? null };
  }
}

class Google {
  static async create(key) {
    const { GoogleGenAI } = await import('@google/genai');
    return Object.assign(new Google(), { client: new GoogleGenAI({ apiKey: key ?? process.env.GEMINI_API_KEY }) });
  }

  async models() {
    const models = [];
    for await (const model of await this.client.models.list({ config: { queryBase: true } })) models.push(model.name);
    return { models };
  }

  async ask(step, contents, tools, seen) {
    const config = { maxOutputTokens: step.max_tokens ?? 500 };
    if (step.system) config.systemInstruction = step.system;
    if (tools) config.tools = tools;
    const body = { model: step.model, contents, config };
    const answers = step.stream
      ? await this.client.models.generateContentStream(body)
      : [await this.client.models.generateContent(body)];
    const parts = [];
    let usage = null;
    let finish = null;
    let model = null;
    for await (const answer of answers) {
      usage = answer.usageMetadata ?? usage;
      model = answer.modelVersion ?? model;
      for (const candidate of answer.candidates ?? []) {
        finish = candidate.finishReason ?? finish;
        for (const part of candidate.content?.parts ?? []) {
          parts.push(part);
          if (part.text) {
            seen.text += part.text;
            seen.pieces += 1;
          }
        }
      }
    }
    const calls = parts.filter((part) => part.functionCall).map((part) => part.functionCall);
    const answer = {
      ...seen,
      model,
      finish_reason: finish,
      calls: calls.map((call) => ({ name: call.name, arguments: call.args })),
      usage,
    };
    return [parts, answer];
  }

  async chat(step, seen) {
    const parts = [{ text: step.prompt }];
    if (step.image) parts.push({ inlineData: { mimeType: 'image/png', data: step.image } });
    return (await this.ask(step, [{ role: 'user', parts }], undefined, seen))[1];
  }

  async tools(step, seen) {
    const tools = [{ functionDeclarations: [{ name: 'weather', description: ABOUT, parametersJsonSchema: WEATHER }] }];
    const contents = [{ role: 'user', parts: [{ text: step.prompt }] }];
    const [parts, first] = await this.ask(step, contents, tools, seen);
    contents.push({ role: 'model', parts });
    const results = parts
      .filter((part) => part.functionCall)
      .map(({ functionCall: { id, name, args } }) => ({ functionResponse: { id, name, response: { result: weather(args) } } }));
    contents.push({ role: 'user', parts: results });
    const [, second] = await this.ask(step, contents, tools, begin(seen));
    return { turns: [first, second] };
  }

  async count(step) {
    return { tokens: (await this.client.models.countTokens({ model: step.model, contents: step.prompt })).totalTokens };
  }

  async embed(step, seen) {
    const answer = await this.client.models.embedContent({ model: step.model, contents: step.input });
    return {
      ...seen,
      vectors: answer.embeddings.map((item) => item.values),
    };
  }

  failed(error) {
    let inner;
    try {
      inner = JSON.parse(error.message.slice(error.message.indexOf('{'))).error;
    } catch {
      inner = undefined;
    }
    return { status: error.status ?? null, kind: inner?.status ?? null, message: inner?.message ?? error.message };
  }
}

/** What a stream said so far, kept where an exception leaves it. */
function begin(seen) {
  for (const name of Object.keys(seen)) delete seen[name];
  return Object.assign(seen, { request_id: null, text: '', pieces: 0 });
}

function same(one, other) {
  if (one !== other) throw new Error(`${JSON.stringify(one)} is not ${JSON.stringify(other)}`);
}

// What the step at hand said so far. The id stands in a header that not every client shows.
let seen = {};
const { fetch } = globalThis;
globalThis.fetch = async (...request) => {
  const response = await fetch(...request);
  seen.request_id = response.headers.get('x-request-id');
  return response;
};

let input = '';
for await (const piece of process.stdin) input += piece;
const kind = { openai: OpenAi, anthropic: Anthropic, google: Google }[process.argv[2]];
const answers = [];
for (const step of JSON.parse(input)) {
  seen = begin({});
  const client = await kind.create(step.key);
  try {
    answers.push(await client[step.do](step, seen));
  } catch (error) {
    answers.push({ ...seen, exception: error.constructor.name, ...client.failed(error) });
  }
}
process.stdout.write(JSON.stringify(answers));
