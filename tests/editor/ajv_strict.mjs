// Compiles a schema with ajv in strict mode, the editor keywords declared, and checks documents with it.
// Usage: node ajv_strict.mjs KEYWORDS SCHEMA DOCUMENT.json...   (prints one line per document: valid, or the errors)
import { readFileSync } from "node:fs";
import Ajv from "ajv";

const [keywords, schema, ...documents] = process.argv.slice(2);
const ajv = new Ajv({ strict: true, strictTypes: true, strictTuples: true, allowUnionTypes: true, allErrors: true });
keywords.split(",").forEach((keyword) => ajv.addKeyword(keyword));
const read = (path) => JSON.parse(readFileSync(path, "utf8"));
const validate = ajv.compile(read(schema));
for (const path of documents) {
  const valid = validate(read(path));
  console.log(valid ? "valid" : validate.errors.map((e) => `${e.instancePath} ${e.keyword}`).join("; "));
}
