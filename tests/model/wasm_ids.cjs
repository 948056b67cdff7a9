// Ids by the page's tokenizer library, a list for each definition: node wasm_ids.cjs LIBRARY.js DEFINITION.json … < texts.json
const fs = require("fs");
const [library, ...definitions] = process.argv.slice(2);
const found = {};
const load = new Function("exports", "module", "require", "__filename", fs.readFileSync(library, "utf8"));
load(found, { exports: found }, require, library);

async function ids(definition, texts) {
  const bytes = new Uint8Array(fs.readFileSync(definition));
  const tokenizer = await found.Tokenizer.fromJSON(bytes.buffer);
  return texts.map((text) => Array.from(tokenizer.encode(text)));
}

async function main() {
  const texts = JSON.parse(fs.readFileSync(0, "utf8"));
  const all = [];
  for (const definition of definitions) all.push(await ids(definition, texts));
  process.stdout.write(JSON.stringify(all));
}

main();
