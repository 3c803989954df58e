// The part of client/idbstore that has to be JavaScript. IndexedDB ends a transaction as soon as nothing is asked of
// it, so everything that happens inside one happens here, and Go makes one call for each operation of its store.
//
// One database holds one store. Its object store "kv" has the keys as they are and each value as nonce (12 bytes) and
// AES-GCM ciphertext, with the key of the item as additional data: a value that was moved to another key does not open.
// Nonces are random, good for 2^32 values. "meta" has the sealing key, which cannot be exported, and the fencing number.
//
// Items cross the border to Go packed into one Uint8Array, each as: length of key and of value (4 bytes each, big
// endian), key, value. The length `gone` stands for a value to be deleted.
"use strict";

const layout = 1; // version of the database
const gone = 0xffffffff;
const nonceBytes = 12;

// failure makes an error whose name client/idbstore knows.
function failure(name, message) {
  const e = new Error(message);
  e.name = name;
  return e;
}

// named gives the browser's errors our names.
function named(e) {
  switch (e?.name) {
    case "QuotaExceededError": return failure("full", e.message);
    case "SecurityError": case "NotAllowedError": return failure("denied", e.message);
    case "VersionError": return failure("newer", e.message);
    case "InvalidStateError": return failure("closed", e.message);
  }
  return e ?? failure("unknown", "no reason given");
}

function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

// durable resolves when a transaction is on disk. A quota that is exceeded shows only here.
function durable(tx) {
  return new Promise((resolve, reject) => {
    tx.oncomplete = () => resolve();
    tx.onabort = () => reject(tx.error);
  });
}

// lock resolves to a function that gives the lock back and resolves when it is back. The browser takes it by itself when
// the worker ends.
function lock(name, wait, signal) {
  return new Promise((resolve, reject) => {
    const request = navigator.locks.request(name, wait ? { signal } : { ifAvailable: true }, (held) => {
      if (held === null) {
        reject(failure("in_use", "another tab holds the lock"));
        return undefined;
      }
      return new Promise((end) => { resolve(() => { end(); return given; }); });
    });
    const given = request.catch(reject); // aborted while it waited, or stolen later: then rejecting has no effect
  });
}

function openDatabase(name) {
  const request = indexedDB.open(name, layout);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("kv");
    request.result.createObjectStore("meta");
  };
  return result(request);
}

// takeOver raises the fencing number and finds the sealing key. A store that still writes under a lower number is
// refused from now on, whatever became of its lock.
async function takeOver(db) {
  const fresh = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  const tx = write(db);
  if (tx.durability !== "strict") {
    throw failure("unsupported", "IndexedDB cannot promise that what was written is on disk");
  }
  const kv = tx.objectStore("kv"), meta = tx.objectStore("meta");
  const finished = durable(tx);
  const [fence, key, items] = await Promise.all([result(meta.get("fence")), result(meta.get("key")), result(kv.count())]);
  if (key === undefined && items > 0) {
    tx.abort();
    await finished.catch(() => {});
    throw failure("damaged", "the sealing key is missing");
  }
  meta.put((fence ?? 0) + 1, "fence");
  if (key === undefined) {
    meta.put(fresh, "key");
  }
  await finished;
  return { fence: (fence ?? 0) + 1, key: key ?? fresh };
}

const write = (db) => db.transaction(["kv", "meta"], "readwrite", { durability: "strict" });

function unpack(packed) {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const items = [];
  for (let i = 0; i < packed.length;) {
    const keyEnd = i + 8 + view.getUint32(i), length = view.getUint32(i + 4);
    const end = length === gone ? keyEnd : keyEnd + length;
    items.push({ key: packed.subarray(i + 8, keyEnd), value: length === gone ? undefined : packed.subarray(keyEnd, end) });
    i = end;
  }
  return items;
}

function pack(items) {
  const packed = new Uint8Array(items.reduce((n, { key, value }) => n + 8 + key.length + value.length, 0));
  const view = new DataView(packed.buffer);
  let i = 0;
  for (const { key, value } of items) {
    view.setUint32(i, key.length);
    view.setUint32(i + 4, value.length);
    packed.set(key, i + 8);
    packed.set(value, i + 8 + key.length);
    i += 8 + key.length + value.length;
  }
  return packed;
}

class Store {
  #db; #key; #fence; #release;

  constructor(db, key, fence, release) {
    this.#db = db;
    this.#key = key;
    this.#fence = fence;
    this.#release = release;
    db.onversionchange = () => this.close(); // somebody deletes the database
  }

  async get(key) {
    const sealed = await result(this.#db.transaction("kv").objectStore("kv").get(key));
    return sealed === undefined ? undefined : this.#unseal(key, sealed);
  }

  // scan gives packed items from low to below high; high undefined means no upper end.
  async scan(low, high, limit) {
    const range = high === undefined ? IDBKeyRange.lowerBound(low) : IDBKeyRange.bound(low, high, false, true);
    const kv = this.#db.transaction("kv").objectStore("kv");
    const [keys, values] = await Promise.all([result(kv.getAllKeys(range, limit)), result(kv.getAll(range, limit))]);
    return pack(await Promise.all(keys.map(async (buffer, i) => {
      const key = new Uint8Array(buffer);
      return { key, value: await this.#unseal(key, values[i]) };
    })));
  }

  // apply seals first, because nothing may be waited for inside the transaction but the transaction.
  async apply(packed) {
    const items = await Promise.all(unpack(packed).map(async ({ key, value }) => (
      { key, sealed: value && await this.#seal(key, value) })));
    const tx = write(this.#db);
    const finished = durable(tx);
    const fence = await result(tx.objectStore("meta").get("fence"));
    if (fence !== this.#fence) {
      tx.abort();
      await finished.catch(() => {});
      throw failure("fenced", "another tab has taken the store over");
    }
    const kv = tx.objectStore("kv");
    for (const { key, sealed } of items) {
      sealed ? kv.put(sealed, key) : kv.delete(key);
    }
    await finished;
  }

  // close lets transactions that have begun finish. The next store's first one comes after them, so the lock need not wait.
  async close() {
    this.#db.close();
    await this.#release();
  }

  // destroy deletes the database with the sealing key, still under the lock.
  async destroy() {
    this.#db.close();
    try {
      await result(indexedDB.deleteDatabase(this.#db.name));
    } finally {
      await this.#release();
    }
  }

  async #seal(key, value) {
    const nonce = crypto.getRandomValues(new Uint8Array(nonceBytes));
    const text = await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce, additionalData: key }, this.#key, value);
    const sealed = new Uint8Array(nonceBytes + text.byteLength);
    sealed.set(nonce);
    sealed.set(new Uint8Array(text), nonceBytes);
    return sealed;
  }

  async #unseal(key, sealed) {
    try {
      const parameters = { name: "AES-GCM", iv: sealed.subarray(0, nonceBytes), additionalData: key };
      return new Uint8Array(await crypto.subtle.decrypt(parameters, this.#key, sealed.subarray(nonceBytes)));
    } catch {
      throw failure("damaged", "a value does not open");
    }
  }
}

async function open(name, wait, signal) {
  if (!globalThis.indexedDB || !globalThis.navigator?.locks || !globalThis.crypto?.subtle) {
    throw failure("unsupported", "IndexedDB, Web Locks and WebCrypto are needed; browsers have them on https pages only");
  }
  const release = await lock(name, wait, signal);
  let db;
  try {
    db = await openDatabase(name);
    const { fence, key } = await takeOver(db);
    return new Store(db, key, fence, release);
  } catch (e) {
    db?.close();
    await release();
    // While opening, this error means that the browser keeps no data for this page, as in some private windows.
    throw e?.name === "InvalidStateError" ? failure("denied", e.message) : e;
  }
}

// sottoStore is what client/idbstore calls. Every error it rejects with has a name that Go knows, or the browser's.
const call = (f) => (...args) => f(...args).catch((e) => { throw named(e); });
globalThis.sottoStore = {
  open: call(open),
  get: call((store, key) => store.get(key)),
  scan: call((store, low, high, limit) => store.scan(low, high, limit)),
  apply: call((store, packed) => store.apply(packed)),
  destroy: call((store) => store.destroy()),
  close: call((store) => store.close()),
};
