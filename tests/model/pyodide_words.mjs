// Hashes of what the page's Python makes of vocabularies: node pyodide_words.mjs PYODIDE PACKAGE < job.json > hashes.json
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const job = fs.readFileSync(0, "utf8"); // before Pyodide takes hold of stdin
const [assets, packages] = process.argv.slice(2).map((folder) => path.resolve(folder));
const { loadPyodide } = await import(pathToFileURL(path.join(assets, "pyodide.mjs")));
const python = await loadPyodide({ indexURL: assets + "/" });
const numpy = fs.readdirSync(assets).find((name) => name.startsWith("numpy-"));
python.unpackArchive(new Uint8Array(fs.readFileSync(path.join(assets, numpy))), "wheel");
python.mountNodeFS("/package", packages);
python.globals.set("job", job);
const hashes = python.runPython(`
import hashlib, json, sys
import numpy as np
sys.path.insert(0, "/package")
from local_llm.catalog import built_in
from local_llm.text.definition import tokenizer_json
from local_llm.text.folder import TokenizerFiles, read_folder

def array(value):
    return np.array(value["values"], value["dtype"]) if isinstance(value, dict) else value

def digest(made):
    return hashlib.sha256(made).hexdigest()

given = json.loads(job)
made = {kind: tokenizer_json({key: array(value) for key, value in metadata.items()}, kind)
        for kind, metadata in given["gguf"].items()}
made |= {kind: read_folder(kind, TokenizerFiles(text.encode()))[1] for kind, text in given["folders"].items()}
made["catalogue"] = json.dumps([entry.description for entry in built_in().entries]).encode()
json.dumps({kind: digest(one) for kind, one in made.items()})
`);
process.stdout.write(hashes);
process.exit(0);
