// The loader in local-llm.html, put there by tools/onefile.py. The site's files lie in this page, gzipped, in base64: they
// are read as if they lay under BASE, a host that does not exist. Modules come by an import map of blobs, the rest by fetch.

(async () => {
  const BASE = "$BASE";
  const TYPES = { js: "text/javascript", mjs: "text/javascript", json: "application/json", wasm: "application/wasm" };
  const files = new Map();

  const typeOf = (name) => TYPES[name.slice(name.lastIndexOf(".") + 1)] ?? "application/octet-stream";
  const blobUrl = (text) => URL.createObjectURL(new Blob([text], { type: "text/javascript" }));

  function take(element) {
    const text = atob(element.textContent);
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < bytes.length; at++) bytes[at] = text.charCodeAt(at);
    files.set(element.dataset.file, new Blob([bytes]));
    element.remove();
  }

  function answer(name) {
    const body = files.get(name).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(body, { headers: { "Content-Type": typeOf(name) } });
  }

  function serve() {
    const { fetch } = globalThis;
    globalThis.fetch = async (resource, options) => {
      const url = String(resource?.url ?? resource);
      if (!url.startsWith(BASE)) return fetch(resource, options);
      const name = url.slice(BASE.length);
      if (files.has(name)) return answer(name);
      const message = "it is not part of this page; choose a .gguf file from your disk or give a full address";
      throw Object.assign(new Error(message), { name: "DownloadFailed" }); // local_llm.errors knows it by this name
    };
  }

  async function mapModules() {
    const imports = {};
    for (const name of files.keys()) {
      if (typeOf(name) === TYPES.js) imports[BASE + name] = URL.createObjectURL(await answer(name).blob());
    }
    const map = document.createElement("script");
    map.type = "importmap";
    map.textContent = JSON.stringify({ imports });
    document.head.append(map);
  }

  // From here on nothing runs but modules out of blobs: what is written in the page itself has run.
  function close() {
    const meta = document.createElement("meta");
    meta.httpEquiv = "Content-Security-Policy";
    meta.content = "$POLICY";
    document.head.append(meta);
  }

  try {
    document.querySelectorAll("script[data-file]").forEach(take);
    serve();
    await mapModules();
    close();
    for (const script of document.querySelectorAll("script[data-module]")) await import(blobUrl(script.textContent));
  } catch (error) {
    const status = document.querySelector("[role=status]");
    status.textContent = `This browser could not unpack the page (${error.message}). Use a current Chrome, Edge, Safari or Firefox.`;
    throw error;
  }
})();
