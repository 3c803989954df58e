// The official library as a party: one JSON request per line on stdin, one JSON answer per line on stdout.
// The commands are those of peer/main.go; the argument is the name of the package to load.
import { createInterface } from 'node:readline';

const lib = await import(process.argv[2]);
const { PrivateKey, PublicKey, KEMKeyPair, KEMPublicKey, ProtocolAddress } = lib;

// From 0.94 on these functions also take the own address.
const takesLocal = lib.signalEncrypt.length === 5;

const bytes = (text) => Buffer.from(text, 'base64');
const text = (data) => Buffer.from(data).toString('base64');
const uuid = (base64) => {
  const hex = bytes(base64).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
};
const addressOf = (request) => ProtocolAddress.new(uuid(request.account), request.device);
const keyOf = (address) => `${address.name()}.${address.deviceId()}`;

class Sessions extends lib.SessionStore {
  #map = new Map();
  async saveSession(address, record) { this.#map.set(keyOf(address), record.serialize()); }
  async getSession(address) {
    const stored = this.#map.get(keyOf(address));
    return stored ? lib.SessionRecord.deserialize(stored) : null;
  }
  async getExistingSessions(addresses) { return Promise.all(addresses.map((a) => this.getSession(a))); }
}

class Identities extends lib.IdentityKeyStore {
  #map = new Map();
  constructor(key, registrationId) {
    super();
    this.key = key;
    this.registrationId = registrationId;
  }
  async getIdentityKey() { return this.key; }
  async getLocalRegistrationId() { return this.registrationId; }
  async isTrustedIdentity() { return true; }
  async getIdentity(address) { return this.#map.get(keyOf(address)) ?? null; }
  async saveIdentity(address, key) {
    this.#map.set(keyOf(address), key);
    return lib.IdentityChange.NewOrUnchanged;
  }
}

class PreKeys extends lib.PreKeyStore {
  #map = new Map();
  async savePreKey(id, record) { this.#map.set(id, record); }
  async getPreKey(id) { return found(this.#map, id); }
  async removePreKey(id) { this.#map.delete(id); }
}

class SignedPreKeys extends lib.SignedPreKeyStore {
  #map = new Map();
  async saveSignedPreKey(id, record) { this.#map.set(id, record); }
  async getSignedPreKey(id) { return found(this.#map, id); }
}

class KyberPreKeys extends lib.KyberPreKeyStore {
  #map = new Map();
  #used = new Set();
  async saveKyberPreKey(id, record) { this.#map.set(id, record); }
  async getKyberPreKey(id) { return found(this.#map, id); }
  async markKyberPreKeyUsed(id, signedId, baseKey) {
    const triple = `${id} ${signedId} ${text(baseKey.serialize())}`;
    if (this.#used.has(triple)) throw new Error('handshake replayed');
    this.#used.add(triple);
  }
}

class SenderKeys extends lib.SenderKeyStore {
  #map = new Map();
  async saveSenderKey(sender, distribution, record) { this.#map.set(`${keyOf(sender)} ${distribution}`, record); }
  async getSenderKey(sender, distribution) { return this.#map.get(`${keyOf(sender)} ${distribution}`) ?? null; }
}

function found(map, id) {
  if (!map.has(id)) throw new Error(`no key ${id}`);
  return map.get(id);
}

let self;
let nextId = 1;

const commands = {
  // Forgets everything and becomes a new device.
  async new(request) {
    const key = PrivateKey.generate();
    self = {
      address: addressOf(request),
      sessions: new Sessions(),
      identities: new Identities(key, 1 + Math.floor(Math.random() * 16380)),
      preKeys: new PreKeys(),
      signedPreKeys: new SignedPreKeys(),
      kyberPreKeys: new KyberPreKeys(),
      senderKeys: new SenderKeys(),
    };
    return { key: text(key.getPublicKey().serialize()) };
  },

  async bundle(request) {
    const identity = self.identities.key;
    const id = nextId++;
    const signed = PrivateKey.generate();
    const signedSignature = identity.sign(signed.getPublicKey().serialize());
    const kyber = KEMKeyPair.generate();
    const kyberSignature = identity.sign(kyber.getPublicKey().serialize());
    await self.signedPreKeys.saveSignedPreKey(id,
      lib.SignedPreKeyRecord.new(id, Date.now(), signed.getPublicKey(), signed, signedSignature));
    await self.kyberPreKeys.saveKyberPreKey(id, lib.KyberPreKeyRecord.new(id, Date.now(), kyber, kyberSignature));
    const bundle = {
      registration: self.identities.registrationId,
      identity: text(identity.getPublicKey().serialize()),
      signedId: id,
      signed: text(signed.getPublicKey().serialize()),
      signedSignature: text(signedSignature),
      kyberId: id,
      kyber: text(kyber.getPublicKey().serialize()),
      kyberSignature: text(kyberSignature),
    };
    if (request.oneTime) {
      const oneTime = PrivateKey.generate();
      await self.preKeys.savePreKey(id, lib.PreKeyRecord.new(id, oneTime.getPublicKey(), oneTime));
      bundle.oneTimeId = id;
      bundle.oneTime = text(oneTime.getPublicKey().serialize());
    }
    return { bundle };
  },

  async initiate(request) {
    const b = request.bundle;
    const bundle = lib.PreKeyBundle.new(
      b.registration, request.device,
      b.oneTime ? b.oneTimeId : null, b.oneTime ? PublicKey.deserialize(bytes(b.oneTime)) : null,
      b.signedId, PublicKey.deserialize(bytes(b.signed)), bytes(b.signedSignature),
      PublicKey.deserialize(bytes(b.identity)),
      b.kyberId, KEMPublicKey.deserialize(bytes(b.kyber)), bytes(b.kyberSignature));
    await lib.processPreKeyBundle(bundle, ...addresses(request), self.sessions, self.identities);
    return {};
  },

  async encrypt(request) {
    const message = await lib.signalEncrypt(bytes(request.data), ...addresses(request), self.sessions, self.identities);
    return { type: message.type(), data: text(message.serialize()) };
  },

  async decrypt(request) {
    if (request.type === lib.CiphertextMessageType.PreKey) {
      return { data: text(await lib.signalDecryptPreKey(lib.PreKeySignalMessage.deserialize(bytes(request.data)),
        ...addresses(request), self.sessions, self.identities, self.preKeys, self.signedPreKeys, self.kyberPreKeys)) };
    }
    return { data: text(await lib.signalDecrypt(lib.SignalMessage.deserialize(bytes(request.data)),
      ...addresses(request), self.sessions, self.identities)) };
  },

  async sign(request) {
    return { data: text(self.identities.key.sign(bytes(request.data))) };
  },

  async verify(request) {
    return { ok: PublicKey.deserialize(bytes(request.key)).verify(bytes(request.data), bytes(request.signature)) };
  },

  async distribute(request) {
    const message = await lib.SenderKeyDistributionMessage.create(self.address, uuid(request.group), self.senderKeys);
    return { data: text(message.serialize()) };
  },

  async accept(request) {
    await lib.processSenderKeyDistributionMessage(addressOf(request),
      lib.SenderKeyDistributionMessage.deserialize(bytes(request.data)), self.senderKeys);
    return {};
  },

  async groupEncrypt(request) {
    const message = await lib.groupEncrypt(self.address, uuid(request.group), self.senderKeys, bytes(request.data));
    return { type: message.type(), data: text(message.serialize()) };
  },

  async groupDecrypt(request) {
    return { data: text(await lib.groupDecrypt(addressOf(request), self.senderKeys, bytes(request.data))) };
  },

  // The safety number with another account and its key.
  async fingerprint(request) {
    const own = self.identities.key.getPublicKey();
    const name = self.address.name().replaceAll('-', '');
    const fingerprint = lib.Fingerprint.new(5200, 2, Buffer.from(name, 'hex'), own,
      bytes(request.account), PublicKey.deserialize(bytes(request.key)));
    return {
      digits: fingerprint.displayableFingerprint().toString(),
      data: text(fingerprint.scannableFingerprint().toBuffer()),
    };
  },

  async retryRequest(request) {
    return { data: text(lib.DecryptionErrorMessage.forOriginal(bytes(request.data), request.type, 1234567890123, 3)
      .serialize()) };
  },
};

function addresses(request) {
  return takesLocal ? [addressOf(request), self.address] : [addressOf(request)];
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = await commands[request.do](request);
  } catch (error) {
    answer = { error: String(error.message ?? error), duplicate: error.code === lib.ErrorCode.DuplicatedMessage };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
