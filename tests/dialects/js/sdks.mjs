// Finds the SDKs in the folder that RINI_JS_SDKS names, and tells what came of each check as one JSON object.

import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(join(process.env.RINI_JS_SDKS, "sdks.js"));

export const load = (name) => import(pathToFileURL(require.resolve(name)));

export const url = process.env.RINI_URL;
export const token = process.env.RINI_TOKEN;
const models = JSON.parse(process.env.RINI_MODELS);

export const weather = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

// Runs every check for every model; what one throws is told as its error's class, status and message.
export async function run(checks) {
  const told = {};
  for (const model of models) {
    told[model] = {};
    for (const [name, check] of Object.entries(checks)) {
      try {
        told[model][name] = await check(model);
      } catch (error) {
        const { name: kind, status, message } = error;
        told[model][name] = { thrown: error.constructor?.name ?? kind, status, message: String(message) };
      }
    }
  }
  console.log(JSON.stringify(told));
}
