// The verbs that Python needs of JavaScript: replay plans, move bytes past the Wasm heap, hand a face to the page.
// No policy here and no state of a model: Python decides, this file does. Errors carry a name that Python knows.

const USAGE = 0x0004 | 0x0008 | 0x0040 | 0x0080; // COPY_SRC | COPY_DST | UNIFORM | STORAGE
const STAGING = 0x0001 | 0x0008; // MAP_READ | COPY_DST
const POOLED = 1 << 20; // larger staging buffers are not worth keeping

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
  return JSON.stringify({ features: [...gpu.device.features, ...(navigator.gpu.wgslLanguageFeatures ?? [])], limits });
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

export function replay(gpu, plan, times, timestampWrites) {
  const encoder = gpu.device.createCommandEncoder();
  const pass = encoder.beginComputePass({ timestampWrites });
  for (let n = 0; n < times; n++) {
    for (let i = 0; i < plan.length; i += 5) {
      if (i === 0 || plan[i] !== plan[i - 5]) pass.setPipeline(plan[i]);
      pass.setBindGroup(0, plan[i + 1]);
      pass.dispatchWorkgroups(plan[i + 2], plan[i + 3], plan[i + 4]);
    }
  }
  pass.end();
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

// The same, told by a call: a promise costs Python a turn of its event loop where it gets one, and another to await it.
export const readFor = (hear, id, ...what) => void read(...what).then((bytes) => hear(id, bytes), (error) => hear(id, error));

// Nanoseconds on the GPU of such a replay, by its own clock.
export async function timed(gpu, plan, times) {
  const querySet = gpu.device.createQuerySet({ type: "timestamp", count: 2 });
  const ticks = gpu.device.createBuffer({ size: 16, usage: 0x0200 | 0x0004 }); // QUERY_RESOLVE | COPY_SRC
  replay(gpu, plan, times, { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 });
  const encoder = gpu.device.createCommandEncoder();
  encoder.resolveQuerySet(querySet, 0, 2, ticks, 0);
  gpu.queue.submit([encoder.finish()]);
  const [start, stop] = new BigUint64Array((await read(gpu, ticks, 0, 16)).buffer);
  [querySet, ticks].forEach((used) => used.destroy());
  return Number(stop - start);
}

export function copy(gpu, from, to, size, times) {
  const encoder = gpu.device.createCommandEncoder();
  for (let n = 0; n < times; n++) encoder.copyBufferToBuffer(from, 0, to, 0, size);
  gpu.queue.submit([encoder.finish()]);
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

export const isBlob = (value) => value instanceof Blob;

export const blobOf = (bytes) => new Blob([bytes]);

// Reads lane.reader into lane.bytes until that is full: true; false where the body ends before. `at` tells how far it came
// at any moment, `skip` bytes are thrown away first, what was read too much waits in `rest`. `stage` takes what is read, if
// the reader can do that: always the same memory.
export async function fill(lane) {
  while (lane.at < lane.bytes.length) {
    if (!lane.rest) {
      const { done, value } = await lane.reader.read(lane.stage);
      if (done) return false;
      lane.rest = value;
      if (lane.stage) lane.stage = new Uint8Array(value.buffer);
    }
    const skipped = Math.min(lane.skip, lane.rest.length);
    lane.skip -= skipped;
    const part = lane.rest.subarray(skipped, skipped + lane.bytes.length - lane.at);
    const used = skipped + part.length;
    lane.rest = used < lane.rest.length ? lane.rest.subarray(used) : null;
    lane.bytes.set(part, lane.at);
    lane.at += part.length;
  }
  return true;
}

// `size` bytes go to `buffer`, from its start, in pieces of any length. WebGPU writes whole words: a piece may end within
// one, the last one is padded with zeros.
export const openSink = (gpu, buffer, size) => ({ gpu, buffer, size, at: 0, word: new Uint8Array(4) });

export function put(sink, bytes) {
  const { gpu, buffer, size, word, at } = sink;
  const used = at % 4;
  const head = used ? Math.min(4 - used, bytes.length) : 0;
  word.set(bytes.subarray(0, head), used);
  if (head && (used + head === 4 || at + head === size)) gpu.queue.writeBuffer(buffer, at - used, word);
  const body = (bytes.length - head) & ~3;
  if (body) gpu.queue.writeBuffer(buffer, at + head, bytes, head, body);
  const tail = bytes.subarray(head + body);
  sink.at = at + bytes.length;
  if (tail.length) word.fill(0).set(tail);
  if (tail.length && sink.at === size) gpu.queue.writeBuffer(buffer, size - tail.length, word);
}

// A Web Lock, held until the returned function is called; null where it is taken and `wait` is false.
export const hold = (name, mode, wait) =>
  new Promise((got, failed) => {
    const held = (lock) => (lock ? new Promise((release) => got(release)) : got(null));
    navigator.locks.request(name, { mode, ifAvailable: !wait }, held).catch(failed);
  });

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
