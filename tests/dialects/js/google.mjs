import { load, run, token, url, weather } from "./sdks.mjs";

const { GoogleGenAI } = await load("@google/genai");

const client = new GoogleGenAI({ apiKey: token, httpOptions: { baseUrl: url } });
const hi = (model, contents, config) => ({ model, contents, config });
const person = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
  additionalProperties: false,
};

// What the SDK calls by itself while the model asks for it.
function callable(asked) {
  return {
    tool: async () => ({
      functionDeclarations: [{ name: "weather", description: "Tells the weather", parametersJsonSchema: weather }],
    }),
    callTool: async (calls) =>
      calls.map((call) => (asked.push(call.args.city), { functionResponse: { name: call.name, response: { result: "rainy" } } })),
  };
}

await run({
  plain: async (model) => (await client.models.generateContent(hi(model, "hi"))).text,
  stream: async (model) => {
    let text = "";
    for await (const chunk of await client.models.generateContentStream(hi(model, "hi"))) text += chunk.text ?? "";
    return text;
  },
  chat: async (model) => {
    const chat = client.chats.create({ model });
    let text = "";
    for await (const chunk of await chat.sendMessageStream({ message: "hi" })) text += chunk.text ?? "";
    const again = await chat.sendMessage({ message: "again" });
    return { text, again: again.text };
  },
  tools: async (model) => {
    const asked = [];
    const answer = await client.models.generateContent(hi(model, "weather", { tools: [callable(asked)] }));
    return { text: answer.text, asked };
  },
  "tools, streamed": async (model) => {
    const asked = [];
    let text = "";
    const config = { tools: [callable(asked)] };
    for await (const chunk of await client.models.generateContentStream(hi(model, "weather", config))) text += chunk.text ?? "";
    return { text, asked };
  },
  parsed: async (model) => {
    const config = { responseMimeType: "application/json", responseJsonSchema: person };
    return JSON.parse((await client.models.generateContent(hi(model, "hi", config))).text);
  },
  error: (model) => client.models.generateContent(hi(model, "fail")),
  "error, streamed": async (model) => {
    let text = "";
    try {
      for await (const chunk of await client.models.generateContentStream(hi(model, "break"))) text += chunk.text ?? "";
    } catch (error) {
      return { text, thrown: error.constructor.name, message: error.message };
    }
  },
});
