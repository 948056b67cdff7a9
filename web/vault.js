// Runs in a worker beside the page: chunks of files go to the private file system and come back by the shortest way, and
// are held against their digests. No policy. The build puts hash-wasm's sha256 before it, for digests of whole files.

const hex = (byte) => byte.toString(16).padStart(2, "0");
const sha256 = async (bytes) => Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)), hex).join("");

async function open(path, name, create, use) {
  let folder = await navigator.storage.getDirectory();
  for (const part of path.split("/")) folder = await folder.getDirectoryHandle(part);
  const file = await folder.getFileHandle(name, { create });
  const mode = create ? "readwrite" : "read-only";
  let access = null;
  for (let tries = create ? 50 : 1; !access && tries; tries--) {
    access = await file.createSyncAccessHandle({ mode }).catch((error) => {
      if (create && (tries === 1 || error.name !== "NoModificationAllowedError")) throw error;
      return new Promise((go) => setTimeout(go, create ? 100 : 0)); // a write that nobody waits for is under way
    });
  }
  if (!access) return new Uint8Array(await (await file.getFile()).arrayBuffer()); // another tab reads it, too
  try { return use(access); } finally { access.close(); }
}

let whole = null; // the digest of the one file that this worker is told of in order
let last = null; // the array that was added last: new ones cost more than reading into them

const VERBS = {
  // Bytes become the file NUMBER-SHA256; they come back.
  async keep(path, number, bytes) {
    const name = `${number}-${await sha256(bytes)}`;
    const written = await open(path, name, true, (file) => (file.truncate(0), file.write(bytes, { at: 0 })));
    if (written < bytes.length) throw new DOMException("cut short", "QuotaExceededError");
    return [name, bytes];
  },
  // A file's bytes, in `spare` if they fit there; null where they are not what its name says.
  async take(path, name, spare) {
    const bytes = await open(path, name, false, (file) => {
      const room = spare?.length === file.getSize() ? spare : new Uint8Array(file.getSize());
      return file.read(room, { at: 0 }), room;
    });
    return name.endsWith(await sha256(bytes)) ? bytes : null;
  },
  add: async (path, name) => (last = await VERBS.take(path, name, last)) !== null && VERBS.update(last),
  update: async (bytes) => Boolean((whole ??= (await hashwasm.createSHA256()).init()).update(bytes)),
  finish: async () => (whole ?? (await hashwasm.createSHA256()).init()).digest("hex"),
};

onmessage = async ({ data: [id, verb, ...given] }) => {
  const answer = await VERBS[verb](...given).then((value) => [id, value], ({ name, message }) => [id, null, name, message]);
  postMessage(answer, [answer[1]].flat().filter(ArrayBuffer.isView).map(({ buffer }) => buffer));
};
postMessage([0]);
