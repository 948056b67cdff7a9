// The verbs that Python needs of JavaScript: replay plans, move bytes past the Wasm heap, hand a face to the page.
// No policy here and no state of a model: Python decides, this file does. Errors carry a name that Python knows.

const USAGE = 0x0004 | 0x0008 | 0x0040 | 0x0080; // COPY_SRC | COPY_DST | UNIFORM | STORAGE
const STAGING = 0x0001 | 0x0008; // MAP_READ | COPY_DST
const POOLED = 1 << 20; // larger staging buffers are not worth keeping
const IN_FLIGHT = 64 << 20; // bytes written before waiting for the GPU, so that a fast network cannot pile them up
const NEAR = 1 << 20; // skipping this many bytes of a running request is cheaper than a new one
const IDLE_MS = 5000;

const named = (name, message) => Object.assign(new Error(message), { name });

// ---- GPU ----

export async function adapterInfo() {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) return null;
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const fallback = Boolean(isFallbackAdapter ?? adapter.isFallbackAdapter);
  return { adapter, text: JSON.stringify({ vendor, architecture, device, description, fallback }) };
}

export async function openDevice(adapter, features, limitNames) {
  const requiredFeatures = JSON.parse(features).filter((name) => adapter.features.has(name));
  const requiredLimits = Object.fromEntries(JSON.parse(limitNames).map((name) => [name, adapter.limits[name]]));
  const device = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  const gpu = { device, queue: device.queue, pool: new Map(), fault: null, lost: null };
  device.lost.then((info) => (gpu.lost = info.message || info.reason));
  device.onuncapturederror = (event) => {
    event.preventDefault();
    gpu.fault ??= event.error;
  };
  openScopes(gpu);
  return gpu;
}

export const deviceFacts = (gpu) => {
  const limits = {};
  for (const name in gpu.device.limits) limits[name] = gpu.device.limits[name];
  return JSON.stringify({ features: [...gpu.device.features], limits });
};

export const createBuffer = (gpu, size, label) => gpu.device.createBuffer({ size, usage: USAGE, label });

export const write = (gpu, buffer, offset, bytes) => gpu.queue.writeBuffer(buffer, offset, bytes);

export async function createPipeline(gpu, code, entry, types, constants) {
  const { device } = gpu;
  device.pushErrorScope("validation");
  const entries = types.split(",").map((type, binding) => ({ binding, visibility: 4, buffer: { type } }));
  const layout = device.createBindGroupLayout({ entries });
  const module = device.createShaderModule({ code, label: entry });
  const scope = device.popErrorScope();
  const compute = { module, entryPoint: entry, constants: JSON.parse(constants) };
  const pipelineLayout = device.createPipelineLayout({ bindGroupLayouts: [layout] });
  try {
    const pipeline = await device.createComputePipelineAsync({ label: entry, layout: pipelineLayout, compute });
    return { pipeline, layout };
  } catch (error) {
    const fault = await scope.catch(() => null);
    throw named("GPUFault", fault?.message || error.message);
  }
}

export function bind(gpu, layout, ...buffers) {
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  return gpu.device.createBindGroup({ layout, entries });
}

// A plan: [pipeline, group, x, y, z, pipeline, group, …]
export const record = (...plan) => plan;

export function replay(gpu, plan, times) {
  const encoder = gpu.device.createCommandEncoder();
  for (let n = 0; n < times; n++) {
    const pass = encoder.beginComputePass();
    for (let i = 0; i < plan.length; i += 5) {
      if (i === 0 || plan[i] !== plan[i - 5]) pass.setPipeline(plan[i]);
      pass.setBindGroup(0, plan[i + 1]);
      pass.dispatchWorkgroups(plan[i + 2], plan[i + 3], plan[i + 4]);
    }
    pass.end();
  }
  gpu.queue.submit([encoder.finish()]);
}

export function read(gpu, buffer, offset, nbytes) {
  const size = 2 ** Math.ceil(Math.log2(Math.max(nbytes, 256)));
  const free = gpu.pool.get(size)?.pop();
  const staging = free ?? gpu.device.createBuffer({ size, usage: STAGING, label: "staging" });
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, offset, staging, 0, nbytes);
  gpu.queue.submit([encoder.finish()]);
  return finish(gpu, staging.mapAsync(1, 0, nbytes), () => {
    const bytes = new Uint8Array(staging.getMappedRange(0, nbytes)).slice();
    staging.unmap();
    if (size > POOLED) staging.destroy();
    else if (gpu.pool.has(size)) gpu.pool.get(size).push(staging);
    else gpu.pool.set(size, [staging]);
    return bytes;
  });
}

export const idle = (gpu) => finish(gpu, gpu.queue.onSubmittedWorkDone(), () => undefined);

export function close(gpu) {
  gpu.lost = "it was closed";
  gpu.device.destroy();
}

function openScopes(gpu) {
  gpu.device.pushErrorScope("out-of-memory");
  gpu.device.pushErrorScope("validation");
}

// What went wrong up to now decides how `work`, queued just before, ends. Nobody may be listening: no rejection is "unhandled".
function finish(gpu, work, result) {
  const scopes = Promise.all([gpu.device.popErrorScope(), gpu.device.popErrorScope()]).catch(() => []);
  openScopes(gpu);
  const end = (async () => {
    const failure = await work.then(() => null, (error) => error);
    const [validation, memory] = await scopes;
    const fault = memory ?? validation ?? gpu.fault;
    gpu.fault = null;
    if (gpu.lost === null && failure) await Promise.race([gpu.device.lost, new Promise((go) => setTimeout(go, 50))]);
    if (gpu.lost !== null) throw named("DeviceLost", gpu.lost);
    if (fault) throw named(fault instanceof GPUOutOfMemoryError ? "OutOfMemory" : "GPUFault", fault.message);
    if (failure) throw named("DeviceLost", failure.message);
    return result();
  })();
  end.catch(() => {});
  return end;
}

// ---- bytes ----

// What a URL answers to a request for its first byte, as JSON; `total` is null where the server does not say.
export async function probe(url) {
  const answer = await fetch(url, { headers: { Range: "bytes=0-0" } });
  await answer.body?.cancel();
  const type = answer.headers.get("Content-Type") ?? "";
  const range = /\/(\d+)$/.exec(answer.headers.get("Content-Range") ?? "");
  let total = range ? Number(range[1]) : null;
  if (answer.status === 206 && total === null) {
    const length = (await fetch(url, { method: "HEAD" })).headers.get("Content-Length"); // CORS shows no Content-Range
    total = length ? Number(length) : null;
  }
  return JSON.stringify({ status: answer.status, type, total, url: answer.url });
}

export async function download(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw named("DownloadFailed", `the server answered ${answer.status}`);
  return answer.blob();
}

export const isBlob = (value) => value instanceof Blob;

export const blobOf = (bytes) => new Blob([bytes]);

// A URL (that serves ranges) or a Blob, read forwards: ranges that follow each other share one request.
export const openSource = (body) => ({ body, reader: null, position: 0, rest: new Uint8Array(0), timer: 0, wanted: null });

export function stopSource(source) {
  source.wanted = null;
  closeSource(source);
}

function closeSource(source) {
  clearTimeout(source.timer);
  source.reader?.cancel().catch(() => {});
  source.reader = null;
}

async function request(body, start, stop) {
  if (body instanceof Blob) return body.slice(start, stop || body.size);
  const answer = await fetch(body, { headers: { Range: `bytes=${start}-${stop ? stop - 1 : ""}` } });
  if (answer.status === 206) return answer;
  await answer.body?.cancel();
  throw named("DownloadFailed", `the server answered ${answer.status} to a request for a byte range`);
}

export async function readRange(source, start, stop) {
  return new Uint8Array(await (await request(source.body, start, stop)).arrayBuffer());
}

// Bytes at source.position, at most `limit`; an empty array at the end.
async function next(source, limit) {
  while (source.rest.length === 0) {
    const { done, value } = await source.reader.read();
    if (done) return source.rest;
    source.rest = value;
  }
  const bytes = source.rest.subarray(0, limit);
  source.rest = source.rest.subarray(bytes.length);
  source.position += bytes.length;
  return bytes;
}

async function seek(source, start) {
  const gap = start - source.position;
  if (!source.reader || gap < 0 || gap > NEAR) {
    closeSource(source);
    const answer = await request(source.body, start);
    source.reader = (answer instanceof Blob ? answer.stream() : answer.body).getReader();
    source.position = start;
    source.rest = new Uint8Array(0);
  }
  while (source.position < start && (await next(source, start - source.position)).length);
}

// Bytes [start, stop) to offset 0 of buffer, zeros up to a multiple of 4. `report(n)` hears of every n bytes, 10 times a second.
export async function fetchInto(gpu, buffer, source, start, stop, report) {
  const word = new Uint8Array(4); // WebGPU writes whole words; a chunk may end within one
  let [at, told, then, retries, queued] = [start, start, performance.now(), 1, 0];
  const live = () => source.wanted === buffer;
  source.wanted = buffer;
  clearTimeout(source.timer);
  const put = (bytes) => {
    const used = (at - start) % 4;
    const head = used ? Math.min(4 - used, bytes.length) : 0;
    word.set(bytes.subarray(0, head), used);
    if (head && (used + head === 4 || at + head === stop)) gpu.queue.writeBuffer(buffer, at - start - used, word);
    const body = (bytes.length - head) & ~3;
    if (body) gpu.queue.writeBuffer(buffer, at - start + head, bytes, head, body);
    const tail = bytes.subarray(head + body);
    at += bytes.length;
    if (tail.length) word.fill(0).set(tail);
    if (tail.length && at === stop) gpu.queue.writeBuffer(buffer, at - start - tail.length, word);
  };
  while (at < stop) {
    try {
      await seek(source, at);
      const bytes = await next(source, stop - at);
      if (!live()) throw named("AbortError", "the load was stopped");
      if (!bytes.length) throw named("DownloadFailed", `the data ended after byte ${at}; bytes up to ${stop} were wanted`);
      put(bytes);
      queued += bytes.length;
    } catch (error) {
      closeSource(source);
      if (retries-- === 0 || !live()) throw error;
    }
    if (performance.now() - then > 100 || at === stop) {
      report(at - told);
      [told, then] = [at, performance.now()];
    }
    if (queued > IN_FLIGHT) {
      await gpu.queue.onSubmittedWorkDone();
      queued = 0;
    }
  }
  source.timer = setTimeout(() => closeSource(source), IDLE_MS);
}

// ---- the face that the page's JavaScript sees ----

export const importModule = (url) => import(url);

export const emit = (name, detail) => globalThis.dispatchEvent(new CustomEvent(name, { detail: JSON.parse(detail) }));

const opaque = (v) => v instanceof Blob || v instanceof ArrayBuffer || ArrayBuffer.isView(v) || v?.read instanceof Function;

// Arguments and results cross as JSON text; what JSON cannot say stays an object, named by its place in `objects`.
function pack(args, objects) {
  return JSON.stringify(args, (_, value) => {
    if (value instanceof AbortSignal) return undefined;
    return opaque(value) ? { $object: objects.push(value) - 1 } : value instanceof FileList ? [...value] : value;
  });
}

function unpack(text, objects) {
  const { value, error } = JSON.parse(text, (_, item) => (item?.$object >= 0 ? objects[item.$object] : item));
  if (error) throw Object.assign(named(error.name, error.message), { remedy: error.remedy });
  return value;
}

// `signal` ends this one call and no other: the task behind `pending` is cancelled.
async function settle(pending, objects, signal) {
  const cancel = signal && pending.cancel?.copy(); // awaiting a task destroys its proxy and what was got from it
  const stop = () => cancel?.();
  signal?.addEventListener("abort", stop);
  try {
    return unpack(await pending, objects);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
    cancel?.destroy();
    pending.destroy?.(); // an argument's error comes at once, as text
  }
}

// `invoke(name, text, objects)` answers with text, or with a task of it.
export function makeService(names, invoke) {
  const start = (name, args, objects) => invoke(name, pack(args, objects), objects);
  const now = (name) => (...args) => unpack(start(name, args, []), []);
  const later = (name) => async (...args) => {
    const objects = [];
    const signal = args.at(-1)?.signal;
    signal?.throwIfAborted();
    const value = await settle(start(name, args, objects), objects, signal);
    if (value?.$stream) return readable(value.$stream, signal);
    signal?.throwIfAborted();
    return value;
  };
  const entries = Object.entries(JSON.parse(names));
  return Object.fromEntries(entries.map(([name, waits]) => [name, waits ? later(name) : now(name)]));
}

async function readable(stream, signal) {
  const chunks = iterate(stream, signal);
  await chunks.next(); // enter its `try`, so that return() before the first chunk cleans up too
  return chunks;
}

async function* iterate(stream, signal) {
  let ended = null;
  const stop = () => (ended ??= settle(stream.stop(), []));
  signal?.addEventListener("abort", stop);
  try {
    yield;
    for (;;) {
      signal?.throwIfAborted();
      const chunk = await settle(stream.next(), []);
      signal?.throwIfAborted();
      if (chunk === null) return;
      yield chunk;
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    await stop();
    stream.destroy();
  }
}

// ---- a custom element ----

// A class for customElements.define; `handle(what, element, detail)` is Python's ear for its hooks and clicks.
export const elementClass = (attributes, handle) =>
  class extends HTMLElement {
    static observedAttributes = JSON.parse(attributes);
    constructor() {
      super();
      this.attachShadow({ mode: "open" }).addEventListener("click", (event) => handle("click", this, event.target));
    }
    connectedCallback() { handle("connected", this); }
    disconnectedCallback() { handle("disconnected", this); }
    attributeChangedCallback(name) { handle("attribute", this, name); }
    doing(action) { return () => handle("act", this, action); }
  };
