// The seed's service in Node: its four calls, its cache of five minutes, its token, no audit. The baseline of bench/compare.
// With WORKERS=n it is a cluster of n processes on one port; each has a map of projects of its own, for the seed has no database here.
import cluster from 'node:cluster';
import { createServer } from 'node:http';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

const kek = Buffer.from(process.env.KEK_SECRET, 'base64');
const token = process.env.INTERNAL_SERVICE_TOKEN;
const dekCache = new Map();
const projectDeks = new Map();

function seal(plaintext, key) {
  const iv = randomBytes(16);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  return Buffer.concat([iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]).toString('base64');
}

function open(encrypted, key) {
  const data = Buffer.from(encrypted, 'base64');
  const decipher = createDecipheriv('aes-256-gcm', key, data.subarray(0, 16));
  decipher.setAuthTag(data.subarray(-16));
  return Buffer.concat([decipher.update(data.subarray(16, -16)), decipher.final()]);
}

function decryptDEK(encryptedDEK, projectId) {
  const cached = dekCache.get(projectId);
  if (cached && cached.expires > Date.now()) return cached.dek;
  const dek = open(encryptedDEK, kek);
  dekCache.set(projectId, { dek, expires: Date.now() + 5 * 60 * 1000 });
  return dek;
}

function projectDek(projectId) {
  if (!projectDeks.has(projectId)) projectDeks.set(projectId, seal(randomBytes(32), kek));
  return decryptDEK(projectDeks.get(projectId), projectId);
}

const calls = {
  '/encrypt': ({ projectId, value }) => ({ encrypted: seal(Buffer.from(value, 'utf8'), projectDek(projectId)) }),
  '/decrypt-dek': ({ encryptedDEK, projectId }) => ({ dek: decryptDEK(encryptedDEK, projectId).toString('base64') }),
  '/decrypt-value': ({ encrypted, dek }) => ({ value: open(encrypted, Buffer.from(dek, 'base64')).toString('utf8') }),
  // A call may bring the project's encrypted DEK, as the platform's database would: all of a cluster know it then.
  '/decrypt-all': ({ projectId, encryptedDEK, variables }) => {
    const dek = encryptedDEK ? decryptDEK(encryptedDEK, projectId) : projectDek(projectId);
    const values = {};
    for (const [name, variable] of Object.entries(variables)) {
      values[name] = variable.type === 'secret' ? open(variable.value, dek).toString('utf8') : variable.value;
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
  request.on('end', () => {
    try {
      answer(200, call(JSON.parse(Buffer.concat(pieces).toString('utf8'))));
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
