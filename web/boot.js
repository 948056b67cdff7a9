// The one script a page loads. It starts Pyodide, installs the wheels beside it and hands over to Python, which registers
// the service. `ModuleLoader.getModule("LocalLLM")` works from the first moment; the promise resolves when Python is up.

import * as bridge from "./bridge.js";

const home = new URL("./", import.meta.url);
let service = null;

/** The LocalLLM service. Starts Python on the first call; after a failed start the next call tries again. */
export function loadLocalLLM() {
  service ??= boot().catch((error) => {
    service = null;
    throw error;
  });
  return service;
}

async function fetched(name) {
  const url = new URL(name, home);
  const answer = await fetch(url).catch((error) => ({ ok: false, status: error.message }));
  if (!answer.ok) {
    throw new Error(`${url} was wanted to start LocalLLM; found: ${answer.status}. Serve the whole folder dist/ over HTTP.`);
  }
  return answer.json();
}

async function boot() {
  const manifest = await fetched("manifest.json");
  const folder = new URL(manifest.pyodide, home).href;
  const { loadPyodide } = await import(`${folder}pyodide.mjs`);
  const pyodide = await loadPyodide({ indexURL: folder, packageBaseUrl: folder });
  const quiet = { messageCallback: () => {} };
  const wheels = manifest.wheels.map((wheel) => new URL(wheel, home).href);
  await pyodide.loadPackage([...manifest.packages, ...wheels], quiet);
  pyodide.registerJsModule("local_llm_bridge", { ...bridge, site: home.href, tokenizers: manifest.tokenizers });
  const python = pyodide.pyimport("local_llm.browser.boot");
  const made = python.install();
  python.destroy();
  Object.defineProperty(made, "pyodide", { value: pyodide });
  return made;
}

const loader = (globalThis.ModuleLoader ??= {});
const others = loader.getModule?.bind(loader) ?? ((name) => Promise.reject(new Error(`There is no module '${name}' here.`)));
loader.getModule = (name) => (name === "LocalLLM" ? loadLocalLLM() : others(name));
loadLocalLLM().catch((error) => console.error(error));
