import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ownLoopback, run, temporaryDirectory, UpCluster } from './programs.js';

const PAGE_BYTES = 4096;
const META_BYTES = 2 * PAGE_BYTES;
let whole: string;

/** Directories of a cluster with a volume, as they are after a clean end. */
beforeAll(async () => {
  const cluster = await UpCluster.start(['--osts', '1', '--volume', 'vm1:64M:1']);
  await cluster.stop();
  whole = cluster.cwd;
}, 120_000);

afterAll(() => rmSync(whole, { recursive: true, force: true }));

/** Bytes that are no page of any kind. */
const noise = (bytes: Buffer) => bytes.map((_, i) => (i * 37 + 11) & 0xff);

const DAMAGE: [name: string, damage: (data: Buffer) => Buffer][] = [
  ['cut in half', (data) => data.subarray(0, data.length / 2)],
  ['cut inside a page', (data) => data.subarray(0, Math.floor(data.length / 3) + 77)],
  ['cut to nothing', () => Buffer.alloc(0)],
  ['cut to its first page', (data) => data.subarray(0, PAGE_BYTES)],
  [
    'noise for a header',
    (data) => Buffer.concat([noise(data.subarray(0, META_BYTES)), data.subarray(META_BYTES)]),
  ],
  [
    'noise for pages',
    (data) => Buffer.concat([data.subarray(0, META_BYTES), noise(data.subarray(META_BYTES))]),
  ],
  [
    'zeros for pages',
    (data) => Buffer.concat([data.subarray(0, META_BYTES), Buffer.alloc(data.length - META_BYTES)]),
  ],
  ['noise where its free pages are listed', breakFreeList],
];

/** Where a meta page names the root of the list of free pages (`MDB_meta` of LMDB, by its layout in lmdb-js). */
const FREE_ROOT_AT = 88;

/** A list of free pages that is on no page: readers never look there, the next commit does. */
function breakFreeList(data: Buffer): Buffer {
  const damaged = Buffer.from(data);
  for (const meta of [0, PAGE_BYTES]) {
    const root = damaged.readBigUInt64LE(meta + FREE_ROOT_AT);
    expect(root).toBeLessThan(data.length / PAGE_BYTES);
    damaged.writeBigUInt64LE(0x3837_3635n, meta + FREE_ROOT_AT);
  }
  return damaged;
}

const SERVERS = {
  mds: {
    database: 'mds/metadata/data.mdb',
    args: ['--dir', 'mds'],
    repair: /rawstor mds rebuild/,
  },
  ost: {
    database: 'ost-1/records/data.mdb',
    args: ['--dir', 'ost-1', '--mds', '127.0.0.1:1'],
    repair: /move this OST's directory away, start it on an empty one/,
  },
} as const;

describe.each(Object.entries(SERVERS))('a damaged database of the %s', (role, { database, args, repair }) => {
  it.each(DAMAGE)('%s', async (_name, damage) => {
    const cwd = temporaryDirectory();
    try {
      cpSync(join(whole, '.rawstor'), cwd, { recursive: true });
      const file = join(cwd, database);
      const damaged = damage(readFileSync(file));
      writeFileSync(file, damaged);
      const listen = ['--listen', `${ownLoopback()}:0`];
      const outcome = await run('cli/rawstor', ['serve', role, ...args, ...listen], { cwd });
      expect(outcome.code, outcome.stderr).toBe(65);
      expect(outcome.stderr).toContain(file);
      expect(outcome.stderr).toMatch(repair);
      // What a repair may start from.
      expect(readFileSync(file).equals(damaged)).toBe(true);
    } finally {
      rmSync(cwd, { recursive: true, force: true });
    }
  });
});
