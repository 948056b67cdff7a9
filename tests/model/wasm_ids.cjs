// Ids of texts by the page's tokenizer library: node wasm_ids.cjs LIBRARY.js DEFINITION.json < texts.json > ids.json
const fs = require("fs");
const [library, definition] = process.argv.slice(2);
const found = {};
const load = new Function("exports", "module", "require", "__filename", fs.readFileSync(library, "utf8"));
load(found, { exports: found }, require, library);

async function main() {
  const bytes = new Uint8Array(fs.readFileSync(definition));
  const tokenizer = await found.Tokenizer.fromJSON(bytes.buffer);
  const texts = JSON.parse(fs.readFileSync(0, "utf8"));
  process.stdout.write(JSON.stringify(texts.map((text) => Array.from(tokenizer.encode(text)))));
}

main();
