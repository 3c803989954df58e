// What this browser keeps besides the core's store: drafts and marks that only matter here. Sealed like the core's values
// by a key that WebCrypto does not export, and deleted at sign-out.
const database = "sotto-page";
const nonceBytes = 12;

function result<T>(r: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    r.onsuccess = () => resolve(r.result);
    r.onerror = () => reject(r.error);
  });
}

let opened: Promise<{ db: IDBDatabase; key: CryptoKey }> | undefined;

async function open(): Promise<{ db: IDBDatabase; key: CryptoKey }> {
  const request = indexedDB.open(database, 1);
  request.onupgradeneeded = () => { request.result.createObjectStore("kept"); };
  const db = await result(request);
  db.onversionchange = () => { db.close(); opened = undefined; };
  const fresh = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  const kept = db.transaction("kept", "readwrite").objectStore("kept");
  const key = await result(kept.get("key")) as CryptoKey | undefined;
  if (key) {
    return { db, key };
  }
  await result(kept.put(fresh, "key"));
  return { db, key: fresh };
}

function ready(): Promise<{ db: IDBDatabase; key: CryptoKey }> {
  opened ??= open();
  opened.catch(() => { opened = undefined; });
  return opened;
}

// read gives a value, or undefined when there is none or it does not open: nothing here is worth an error page.
export async function read<T>(name: string): Promise<T | undefined> {
  try {
    const { db, key } = await ready();
    const sealed = await result(db.transaction("kept").objectStore("kept").get(name)) as Uint8Array<ArrayBuffer> | undefined;
    if (!sealed) {
      return undefined;
    }
    const parameters = { name: "AES-GCM", iv: sealed.subarray(0, nonceBytes), additionalData: new TextEncoder().encode(name) };
    return JSON.parse(new TextDecoder().decode(await crypto.subtle.decrypt(parameters, key, sealed.subarray(nonceBytes)))) as T;
  } catch {
    return undefined;
  }
}

export async function write(name: string, value: unknown): Promise<void> {
  try {
    const { db, key } = await ready();
    const iv = crypto.getRandomValues(new Uint8Array(nonceBytes));
    const parameters = { name: "AES-GCM", iv, additionalData: new TextEncoder().encode(name) };
    const text = new Uint8Array(await crypto.subtle.encrypt(parameters, key, new TextEncoder().encode(JSON.stringify(value))));
    const sealed = new Uint8Array(nonceBytes + text.length);
    sealed.set(iv);
    sealed.set(text, nonceBytes);
    await result(db.transaction("kept", "readwrite").objectStore("kept").put(sealed, name));
  } catch {
    // A draft that could not be kept is not worth interrupting somebody who writes.
  }
}

// wipe deletes everything with its key.
export async function wipe(): Promise<void> {
  const was = await opened?.catch(() => undefined);
  was?.db.close();
  opened = undefined;
  await result(indexedDB.deleteDatabase(database)).catch(() => undefined);
}
