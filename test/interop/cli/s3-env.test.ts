import { readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { ok } from './outcome.js';
import { UpCluster } from './programs.js';

/** The files that clients of S3 take their key and endpoint from. */

interface S3Facts {
  s3: string;
  s3Env: string;
}

let cluster: UpCluster | undefined;
afterEach(() => cluster?.remove(), 60_000);

it('a key is saved to a new file, and the one of `up` follows its gateway to another port', async () => {
  cluster = await UpCluster.start(['--osts', '1', '--no-volume']);
  const saved = join(cluster.cwd, 'fresh.env');
  ok(await cluster.rawstor('s3', 'key', 'create', 'me', '--save', saved));
  expect(readFileSync(saved, 'utf8')).toMatch(/AWS_ACCESS_KEY_ID=\w+\n.*AWS_SECRET_ACCESS_KEY=/);
  expect(statSync(saved).mode & 0o777).toBe(0o600);

  const before = cluster.facts as unknown as S3Facts;
  const first = readFileSync(before.s3Env, 'utf8');
  expect(first).toContain(`AWS_ENDPOINT_URL=${before.s3}\n`);
  const host = new URL(before.s3).hostname;
  await cluster.stop();
  const other = createServer();
  await new Promise<void>((resolve) =>
    other.listen({ host, port: Number(new URL(before.s3).port) }, resolve),
  );
  try {
    cluster = await UpCluster.start(['--listen', host, '--no-volume'], cluster.cwd);
    const after = cluster.facts as unknown as S3Facts;
    expect(after.s3).not.toBe(before.s3);
    expect(readFileSync(after.s3Env, 'utf8')).toBe(first.replace(before.s3, after.s3));
  } finally {
    other.close();
  }
}, 120_000);
