import { Box, Code, Tabs } from '@mantine/core';
import { useTranslation } from 'react-i18next';
import { CopyButton } from './CopyButton';

/** Programs as they can be pasted. `base` is this site without a path; `key` is a secret or the name of a variable. */
export function snippets(base: string, model: string, key: string | null) {
  const shell = key ?? '$NEXUSROUTE_API_KEY';
  const python = key ? JSON.stringify(key) : 'os.environ["NEXUSROUTE_API_KEY"]';
  const node = key ? JSON.stringify(key) : 'process.env.NEXUSROUTE_API_KEY';
  const name = JSON.stringify(model);
  return {
    curl: `curl ${base}/v1/chat/completions \\
  -H "Authorization: Bearer ${shell}" \\
  -H "Content-Type: application/json" \\
  -d '{"model": ${name}, "messages": [{"role": "user", "content": "Hello"}]}'`,
    Python: `${key ? '' : 'import os\n'}from openai import OpenAI

client = OpenAI(base_url="${base}/v1", api_key=${python})
answer = client.chat.completions.create(
    model=${name},
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)`,
    'Node.js': `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}/v1", apiKey: ${node} });
const answer = await client.chat.completions.create({
  model: ${name},
  messages: [{ role: "user", content: "Hello" }],
});
console.log(answer.choices[0].message.content);`,
    Anthropic: `${key ? '' : 'import os\n'}from anthropic import Anthropic

client = Anthropic(base_url="${base}", api_key=${python})
message = client.messages.create(
    model=${name},
    max_tokens=256,
    messages=[{"role": "user", "content": "Hello"}],
)
print(message.content[0].text)`,
  };
}

export function Snippet({ model, secret = null }: { model: string; secret?: string | null }) {
  const { t } = useTranslation();
  const all = Object.entries(snippets(window.location.origin, model, secret));
  return (
    <Tabs defaultValue="curl" keepMounted={false}>
      <Tabs.List aria-label={t('snippet.languages')}>
        {all.map(([name]) => (
          <Tabs.Tab key={name} value={name}>
            {name}
          </Tabs.Tab>
        ))}
      </Tabs.List>
      {all.map(([name, text]) => (
        <Tabs.Panel key={name} value={name} pt="xs">
          <Box pos="relative">
            <Code block tabIndex={0} className="snippet">
              {text}
            </Code>
            <Box className="snippet-copy">
              <CopyButton text={text} label={t('snippet.copy', { name })} />
            </Box>
          </Box>
        </Tabs.Panel>
      ))}
    </Tabs>
  );
}
