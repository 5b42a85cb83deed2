// The seed's CodecService, driven from standard input: one JSON request a line, one JSON answer a line.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';

class CodecService {
  constructor(kek) {
    this.kek = kek;
  }

  seal(plaintext, key) {
    const iv = randomBytes(16);
    const cipher = createCipheriv('aes-256-gcm', key, iv);
    return Buffer.concat([iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]).toString('base64');
  }

  open(encrypted, key) {
    const data = Buffer.from(encrypted, 'base64');
    const decipher = createDecipheriv('aes-256-gcm', key, data.subarray(0, 16), { authTagLength: 16 });
    decipher.setAuthTag(data.subarray(-16));
    return Buffer.concat([decipher.update(data.subarray(16, -16)), decipher.final()]);
  }

  encryptDEK(dek) { return this.seal(dek, this.kek); }
  decryptDEK(encryptedDEK) { return this.open(encryptedDEK, this.kek); }
  encryptValue(value, dek) { return this.seal(Buffer.from(value, 'utf8'), dek); }
  decryptValue(encrypted, dek) { return this.open(encrypted, dek).toString('utf8'); }
}

const service = new CodecService(Buffer.from(process.env.KEK_SECRET, 'base64'));
const calls = {
  newDek: () => {
    const dek = randomBytes(32);
    return { dek: dek.toString('base64'), encryptedDEK: service.encryptDEK(dek) };
  },
  encrypt: ({ value, encryptedDEK }) => ({ encrypted: service.encryptValue(value, service.decryptDEK(encryptedDEK)) }),
  decrypt: ({ encrypted, encryptedDEK }) => ({ value: service.decryptValue(encrypted, service.decryptDEK(encryptedDEK)) }),
  decryptDek: ({ encryptedDEK }) => ({ dek: service.decryptDEK(encryptedDEK).toString('base64') }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { call, ...request } = JSON.parse(line);
  try {
    console.log(JSON.stringify(calls[call](request)));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
}
