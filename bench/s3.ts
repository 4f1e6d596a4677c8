import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';

const USAGE = `usage: npm run bench-s3 -- [--rounds N] [--setting 'OPTIONS OF s3 bucket set']

  PUT and GET of small and large objects: a gateway of a cluster with one OST and one copy, beside nginx with WebDAV on the same
  disk, by turns. nginx is the floor: it knows no signatures and no hashes, and syncs nothing (Debian: nginx-light).
  --setting '--compression zstd': how the bucket stores what is put; the content is half text, half noise.
`;
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CASES = [
  { name: '4 KiB', bytes: 4096, atATime: 1, count: 200 },
  { name: '4 KiB, 16 at a time', bytes: 4096, atATime: 16, count: 800 },
  { name: '1 MiB, 4 at a time', bytes: 2 ** 20, atATime: 4, count: 80 },
  { name: '64 MiB', bytes: 2 ** 26, atATime: 1, count: 4 },
] as const;
type Case = (typeof CASES)[number];

interface Server {
  url(method: 'PUT' | 'GET', key: string): Promise<string>;
  stop(): Promise<void>;
}

async function startNginx(dir: string): Promise<Server> {
  const [root, port] = [join(dir, 'files'), 18080];
  mkdirSync(root, { recursive: true });
  const config = join(dir, 'nginx.conf');
  const where = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (one) => `${one}_temp_path ${dir}/${one};`,
  );
  writeFileSync(
    config,
    `user root; worker_processes 1; daemon off; pid ${dir}/pid; error_log ${dir}/error.log;
     events { worker_connections 128; }
     http { access_log off; keepalive_requests 1000000; client_max_body_size 0; ${where.join(' ')}
       server { listen 127.0.0.1:${port}; location / { root ${root}; dav_methods PUT; create_full_put_path on; } } }`,
  );
  const child = spawn('nginx', ['-c', config], { stdio: 'inherit' });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  if (child.exitCode !== null) throw new Error('nginx did not start: apt-get install nginx-light');
  return {
    url: async (_method, key) => `http://127.0.0.1:${port}/bench/${key}`,
    stop: async () => {
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

async function startGateway(dir: string, setting: string): Promise<Server> {
  mkdirSync(dir, { recursive: true });
  const program = join(ROOT, 'dist/cli/rawstor.js');
  const child = spawn('node', [program, 'up', '--osts', '1', '--port', '17770', '--output', 'json'], {
    cwd: dir,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout!, 'data');
  const set = spawn(
    'node',
    [program, 's3', 'bucket', 'set', 'bench', '--retention-days', '0', ...setting.split(' ').filter(Boolean)],
    {
      cwd: dir,
      stdio: 'inherit',
    },
  );
  const [code] = (await once(set, 'exit')) as [number];
  if (code !== 0) throw new Error('the bucket was not made');
  const text = readFileSync(join(dir, '.rawstor/s3.env'), 'utf8');
  const value = (name: string) => new RegExp(`${name}='?([^'\\n]*)`).exec(text)![1]!;
  const client = new S3Client({
    endpoint: value('AWS_ENDPOINT_URL'),
    region: 'us-east-1',
    credentials: { accessKeyId: value('AWS_ACCESS_KEY_ID'), secretAccessKey: value('AWS_SECRET_ACCESS_KEY') },
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });
  const options = { expiresIn: 36_000 };
  return {
    url(method, Key) {
      const at = { Bucket: 'bench', Key };
      return method === 'PUT'
        ? getSignedUrl(client, new PutObjectCommand(at), options)
        : getSignedUrl(client, new GetObjectCommand(at), options);
    },
    stop: async () => {
      client.destroy();
      child.kill('SIGINT');
      await once(child, 'exit');
    },
  };
}

const agent = new Agent({ keepAlive: true });

function perform(url: string, method: 'PUT' | 'GET', body: Buffer | null): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = body === null ? {} : { 'content-length': body.length };
    const http = request(url, { method, agent, headers }, (response) => {
      response.resume();
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode! < 300) resolve();
        else reject(new Error(`${method} ${url}: ${response.statusCode}`));
      });
    });
    http.on('error', reject);
    http.end(body ?? undefined);
  });
}

/** @returns operations a second; addresses are signed before */
async function measure(
  server: Server,
  method: 'PUT' | 'GET',
  { bytes, atATime, count }: Case,
  round: number,
): Promise<number> {
  const body = method === 'PUT' ? Buffer.alloc(bytes, 'some text, and then some more of it. ') : null;
  // Half of each 128 KiB is noise.
  for (let at = 0; body !== null && at < bytes; at += 2 ** 17) {
    for (let i = at; i < Math.min(at + 2 ** 16, bytes); i += 4)
      body.writeUInt32LE(Math.trunc(Math.random() * 2 ** 32), i);
  }
  const urls = await Promise.all(
    Array.from({ length: count }, (_, i) => server.url(method, `${bytes}-${round}-${i}`)),
  );
  const began = performance.now();
  await Promise.all(
    Array.from({ length: atATime }, async () => {
      for (let url = urls.pop(); url !== undefined; url = urls.pop()) await perform(url, method, body);
    }),
  );
  return count / ((performance.now() - began) / 1000);
}

const median = (values: number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    setting: { type: 'string', default: '' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(USAGE);
  process.exit(0);
}
const cache = join(ROOT, '.cache/bench');
mkdirSync(cache, { recursive: true });
const dir = mkdtempSync(join(cache, 's3-'));
const servers: Record<string, Server> = {};
try {
  servers.rawstor = await startGateway(join(dir, 'rawstor'), values.setting);
  servers.nginx = await startNginx(join(dir, 'nginx'));
  console.log(
    `load ${loadavg()[0]!.toFixed(1)} before\n\n| case | rawstor/s | nginx/s | ratio |\n|---|---|---|---|`,
  );
  for (const one of CASES) {
    const found: Record<string, number[]> = {};
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const method of ['PUT', 'GET'] as const) {
        for (const [name, server] of Object.entries(servers)) {
          const key = `${method} ${name}`;
          found[key] = [...(found[key] ?? []), await measure(server, method, one, round)];
        }
      }
    }
    for (const method of ['PUT', 'GET']) {
      const [ours, theirs] = [median(found[`${method} rawstor`]!), median(found[`${method} nginx`]!)];
      const cells = [`${method} ${one.name}`, ours.toFixed(1), theirs.toFixed(1), (ours / theirs).toFixed(2)];
      console.log(`| ${cells.join(' | ')} |`);
    }
  }
} finally {
  for (const server of Object.values(servers)) await server.stop();
  agent.destroy();
  rmSync(dir, { recursive: true, force: true });
}
