// The platform's first service in Node: its class as its description has it, behind its four calls and its token; no audit. The baseline of
// bench/compare. With WORKERS=n it is a cluster of n processes on one port; each has a map of projects of its own, for it has no database here.
import cluster from 'node:cluster';
import { createServer } from 'node:http';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

class CodecService {
  kek = Buffer.from(process.env.KEK_SECRET, 'base64');
  dekCache = new Map();

  async encryptDEK(dek) {
    const iv = randomBytes(16);
    const cipher = createCipheriv('aes-256-gcm', this.kek, iv);
    return Buffer.concat([iv, cipher.update(dek), cipher.final(), cipher.getAuthTag()]).toString('base64');
  }

  async decryptDEK(encryptedDEK, projectId) {
    const cached = this.dekCache.get(projectId);
    if (cached && cached.expires > Date.now()) return cached.dek;
    const encrypted = Buffer.from(encryptedDEK, 'base64');
    const decipher = createDecipheriv('aes-256-gcm', this.kek, encrypted.subarray(0, 16));
    decipher.setAuthTag(encrypted.subarray(-16));
    const dek = Buffer.concat([decipher.update(encrypted.subarray(16, -16)), decipher.final()]);
    this.dekCache.set(projectId, { dek, expires: Date.now() + 5 * 60 * 1000 });
    return dek;
  }

  async encryptValue(value, dek) {
    const iv = randomBytes(16);
    const cipher = createCipheriv('aes-256-gcm', dek, iv);
    return Buffer.concat([iv, cipher.update(value, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64');
  }

  async decryptValue(encrypted, dek) {
    const data = Buffer.from(encrypted, 'base64');
    const decipher = createDecipheriv('aes-256-gcm', dek, data.subarray(0, 16));
    decipher.setAuthTag(data.subarray(-16));
    return Buffer.concat([decipher.update(data.subarray(16, -16)), decipher.final()]).toString('utf8');
  }
}

const service = new CodecService();
const token = process.env.INTERNAL_SERVICE_TOKEN;
const projectDeks = new Map();

async function projectDek(projectId) {
  if (!projectDeks.has(projectId)) projectDeks.set(projectId, await service.encryptDEK(randomBytes(32)));
  return service.decryptDEK(projectDeks.get(projectId), projectId);
}

const calls = {
  '/encrypt': async ({ projectId, value }) => ({
    encrypted: await service.encryptValue(value, await projectDek(projectId)),
  }),
  '/decrypt-dek': async ({ encryptedDEK, projectId }) => ({
    dek: (await service.decryptDEK(encryptedDEK, projectId)).toString('base64'),
  }),
  '/decrypt-value': async ({ encrypted, dek }) => ({
    value: await service.decryptValue(encrypted, Buffer.from(dek, 'base64')),
  }),
  // A call may bring the project's encrypted DEK, as the platform's database would: all of a cluster know it then.
  '/decrypt-all': async ({ projectId, encryptedDEK, variables }) => {
    const dek = await (encryptedDEK ? service.decryptDEK(encryptedDEK, projectId) : projectDek(projectId));
    const values = {};
    for (const [name, variable] of Object.entries(variables)) {
      values[name] = variable.type === 'secret' ? await service.decryptValue(variable.value, dek) : variable.value;
    }
    return values;
  },
};

const server = createServer((request, response) => {
  const answer = (status, body) => {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  if (request.headers['x-service-auth'] !== token) return answer(401, { error: 'unauthenticated' });
  const call = calls[request.url];
  if (request.method !== 'POST' || !call) return answer(404, { error: 'not found' });
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', async () => {
    try {
      answer(200, await call(JSON.parse(Buffer.concat(pieces).toString('utf8'))));
    } catch {
      answer(400, { error: 'bad request' });
    }
  });
});

const workers = Number(process.env.WORKERS ?? 1);
if (cluster.isPrimary && workers > 1) {
  for (let index = 0; index < workers; index += 1) cluster.fork();
} else {
  server.listen(Number(process.env.PORT), '127.0.0.1');
}
