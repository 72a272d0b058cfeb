import { load, run, token, url, weather } from "./sdks.mjs";

const { default: Anthropic } = await load("@anthropic-ai/sdk");
const { zodOutputFormat } = await load("@anthropic-ai/sdk/helpers/zod");
const { z } = await load("zod");

const client = new Anthropic({ baseURL: url, apiKey: token, maxRetries: 0 });
const Person = z.object({ name: z.string(), age: z.number().int() });
const hi = (model, content) => ({ model, max_tokens: 100, messages: [{ role: "user", content }] });

async function runTools(model, stream) {
  const asked = [];
  const tool = {
    name: "weather",
    description: "Tells the weather",
    input_schema: weather,
    parse: (input) => input,
    run: ({ city }) => (asked.push(city), "rainy"),
  };
  const runner = client.beta.messages.toolRunner({ ...hi(model, "weather"), tools: [tool], stream });
  const last = await runner.runUntilDone();
  return { text: last.content.at(-1).text, asked };
}

await run({
  plain: async (model) => (await client.messages.create(hi(model, "hi"))).content[0].text,
  stream: async (model) => {
    const stream = client.messages.stream(hi(model, "hi"));
    let text = "";
    stream.on("text", (piece) => (text += piece));
    const final = await stream.finalMessage();
    return text === final.content[0].text ? text : `${text} is not the final text`;
  },
  tools: (model) => runTools(model, false),
  "tools, streamed": (model) => runTools(model, true),
  parsed: async (model) =>
    (await client.messages.parse({ ...hi(model, "hi"), output_config: { format: zodOutputFormat(Person) } })).parsed_output,
  error: (model) => client.messages.create(hi(model, "fail")),
  "error, streamed": async (model) => {
    let text = "";
    try {
      for await (const event of await client.messages.create({ ...hi(model, "break"), stream: true }))
        if (event.type === "content_block_delta") text += event.delta.text ?? "";
    } catch (error) {
      return { text, thrown: error.constructor.name, message: error.message };
    }
  },
});
