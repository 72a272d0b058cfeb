import { load, run, token, url, weather } from "./sdks.mjs";

const { default: OpenAI } = await load("openai");
const { zodResponseFormat, zodTextFormat } = await load("openai/helpers/zod");
const { z } = await load("zod");

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: token, maxRetries: 0 });
const Person = z.object({ name: z.string(), age: z.number().int() });
const hi = (content) => [{ role: "user", content }];

async function runTools(model, stream) {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model,
    stream,
    messages: hi("weather"),
    tools: [
      {
        type: "function",
        function: {
          name: "weather",
          description: "Tells the weather",
          parameters: weather,
          parse: JSON.parse,
          function: ({ city }) => (asked.push(city), "rainy"),
        },
      },
    ],
  });
  return { text: await runner.finalContent(), asked };
}

await run({
  plain: async (model) => (await client.chat.completions.create({ model, messages: hi("hi") })).choices[0].message.content,
  stream: async (model) => {
    const stream = client.chat.completions.stream({ model, messages: hi("hi") });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    const final = await stream.finalChatCompletion();
    return text === final.choices[0].message.content ? text : `${text} is not the final text`;
  },
  tools: (model) => runTools(model, false),
  "tools, streamed": (model) => runTools(model, true),
  parsed: async (model) => {
    const answer = await client.chat.completions.parse({
      model,
      messages: hi("hi"),
      response_format: zodResponseFormat(Person, "person"),
    });
    return answer.choices[0].message.parsed;
  },
  error: (model) => client.chat.completions.create({ model, messages: hi("fail") }),
  "error, streamed": async (model) => {
    const stream = await client.chat.completions.create({ model, messages: hi("break"), stream: true });
    let text = "";
    try {
      for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    } catch (error) {
      return { text, thrown: error.constructor.name, message: error.message };
    }
  },
  "responses, plain": async (model) => (await client.responses.create({ model, input: "hi" })).output_text,
  "responses, stream": async (model) => {
    const stream = client.responses.stream({ model, input: "hi" });
    let text = "";
    for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
    const final = await stream.finalResponse();
    return text === final.output_text ? text : `${text} is not the final text`;
  },
  "responses, parsed": async (model) =>
    (await client.responses.parse({ model, input: "hi", text: { format: zodTextFormat(Person, "person") } })).output_parsed,
  "responses, tools": async (model) => {
    const tools = [{ type: "function", name: "weather", description: "Tells the weather", parameters: weather, strict: true }];
    const input = hi("weather");
    const first = await client.responses.create({ model, input, tools });
    const call = first.output.find((item) => item.type === "function_call");
    input.push(...first.output, { type: "function_call_output", call_id: call.call_id, output: "rainy" });
    return { text: (await client.responses.create({ model, input, tools })).output_text, asked: [JSON.parse(call.arguments).city] };
  },
});
