import { closeSync, ftruncateSync, openSync, readdirSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/common/random.js';
import { KiB, MiB } from '../../src/common/units.js';
import { UpCluster } from './cli/programs.js';

/** Disk images through other people's programs, NBD, the client and two of three storage servers, and back. */

const MINUTES = 60_000;
const SIZE_BYTES = 256 * MiB;
const CLUSTER_BYTES = 64 * KiB;
let up: UpCluster;
let dataBytes: number;
const path = (name: string) => join(up.cwd, name);
const run = async (program: string, ...args: string[]) =>
  (await execa(program, args, { cwd: up.cwd, stdin: 'ignore' })).stdout;

beforeAll(async () => {
  up = await UpCluster.start(['--volume', 'vm1:256M:2', '--volume', 'vm2:256M:2', '--volume', 'vm3:256M:2']);
  dataBytes = writeSparseImage(path('golden.raw'));
  await run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', 'golden.raw', 'golden.qcow2');
}, 2 * MINUTES);

afterAll(() => up.remove(), MINUTES);

/** Extents of noise in clusters of 64 KiB, holes between them, data at both ends. @returns bytes of data */
function writeSparseImage(file: string): number {
  const random = seededRandom(7);
  const noise = Buffer.from(Array.from({ length: CLUSTER_BYTES }, () => random.below(256)));
  const fd = openSync(file, 'w');
  ftruncateSync(fd, SIZE_BYTES);
  const clusters = SIZE_BYTES / CLUSTER_BYTES;
  let total = 0;
  for (let at = 0; at < clusters; at += 1 + random.below(40)) {
    for (let left = 1 + random.below(16); left > 0 && at < clusters; left--, at++) {
      noise.writeUInt32LE(at, 0);
      writeSync(fd, noise, 0, CLUSTER_BYTES, at * CLUSTER_BYTES);
      total += CLUSTER_BYTES;
    }
  }
  noise.writeUInt32LE(clusters, 0);
  writeSync(fd, noise, 0, CLUSTER_BYTES, SIZE_BYTES - CLUSTER_BYTES);
  closeSync(fd);
  return total + CLUSTER_BYTES;
}

interface MapEntry {
  start: number;
  length: number;
  zero: boolean;
  data: boolean;
}

/** Ranges that hold data, neighbours joined. */
async function dataRanges(format: string, file: string): Promise<[number, number][]> {
  const map = JSON.parse(await run('qemu-img', 'map', '--output', 'json', '-f', format, file)) as MapEntry[];
  const ranges: [number, number][] = [];
  for (const { start, length } of map.filter((entry) => entry.data && !entry.zero)) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === start) last[1] = start + length;
    else ranges.push([start, start + length]);
  }
  return ranges;
}

async function idOf(volume: string): Promise<string> {
  return JSON.parse((await up.volume('info', volume, '--output', 'json')).stdout).id;
}

/** What the chunk files of a volume take on the disk of each OST that has some. */
async function allocated(volume: string): Promise<number[]> {
  const id = await idOf(volume);
  return Object.keys(up.facts.pids)
    .filter((name) => name.startsWith('ost-'))
    .map((name) => {
      const files = readdirSync(join(up.facts.dir, name), { recursive: true, withFileTypes: true });
      const chunks = files.filter((entry) => entry.isFile() && entry.parentPath.endsWith(id));
      return chunks.reduce(
        (sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).blocks * 512,
        0,
      );
    })
    .filter((bytes) => bytes > 0);
}

async function expectThin(volume: string): Promise<void> {
  const sizes = await allocated(volume);
  expect(sizes).toHaveLength(2);
  for (const bytes of sizes) {
    expect(bytes).toBeGreaterThanOrEqual(dataBytes);
    expect(bytes).toBeLessThan(dataBytes * 1.1);
  }
}

const identical = async (...args: string[]) =>
  expect(await run('qemu-img', 'compare', ...args)).toContain('Images are identical');

describe('disk images through the whole chain', () => {
  it(
    'qemu-img convert brings a qcow2 in and out again, byte for byte, holes as holes',
    async () => {
      const uri = up.uriOf('vm1');
      await run('qemu-img', 'convert', '-n', '-f', 'qcow2', '-O', 'raw', 'golden.qcow2', uri);
      const golden = await dataRanges('raw', 'golden.raw');
      expect(await dataRanges('raw', uri)).toEqual(golden);
      await expectThin('vm1');
      await identical('-f', 'qcow2', '-F', 'raw', 'golden.qcow2', uri);
      await run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', uri, 'back.qcow2');
      expect(await dataRanges('qcow2', 'back.qcow2')).toEqual(golden);
      await run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', 'back.qcow2', 'back.raw');
      expect(readFileSync(path('back.raw')).equals(readFileSync(path('golden.raw')))).toBe(true);
      expect(statSync(path('back.raw')).blocks * 512).toBeLessThan(dataBytes * 1.1);
    },
    3 * MINUTES,
  );

  it(
    'import and export do the same',
    async () => {
      const brought = await up.volume('import', 'golden.qcow2', 'imported');
      expect(brought, brought.stderr).toMatchObject({ code: 0 });
      await expectThin('imported');
      const taken = await up.volume('export', 'imported', 'taken.raw');
      expect(taken, taken.stderr).toMatchObject({ code: 0 });
      expect(readFileSync(path('taken.raw')).equals(readFileSync(path('golden.raw')))).toBe(true);
      expect(statSync(path('taken.raw')).blocks * 512).toBeLessThan(dataBytes * 1.1);
    },
    3 * MINUTES,
  );

  it(
    'nbdinfo and nbdcopy see the same data and the same holes',
    async () => {
      const uri = up.uriOf('vm2');
      const { exports } = JSON.parse(await run('nbdinfo', '--json', uri));
      expect(exports[0]).toMatchObject({ 'export-size': SIZE_BYTES, can_multi_conn: true, can_fua: true });
      await run('nbdcopy', '--destination-is-zero', 'golden.raw', uri);
      await run('nbdcopy', '--flush', uri, 'copied.raw');
      expect(readFileSync(path('copied.raw')).equals(readFileSync(path('golden.raw')))).toBe(true);
      const map = JSON.parse(await run('nbdinfo', '--map', '--json', uri)) as {
        length: number;
        type: number;
      }[];
      const data = map.filter((extent) => extent.type === 0).reduce((sum, extent) => sum + extent.length, 0);
      expect(data).toBe(dataBytes);
      await expectThin('vm2');
    },
    3 * MINUTES,
  );

  it(
    'qemu-io and fio verify what they wrote, and a discarded volume takes no space',
    async () => {
      const uri = up.uriOf('vm3');
      const commands = [
        'write -P 1 0 1M',
        'write -P 2 -f 512k 4k',
        'discard 64k 64k',
        'write -z 128k 64k',
        'flush',
      ];
      const checks = ['read -P 1 0 64k', 'read -P 0 64k 128k', 'read -P 2 512k 4k', 'read -P 1 516k 508k'];
      const io = [...commands, ...checks].flatMap((command) => ['-c', command]);
      expect(await run('qemu-io', '-f', 'raw', ...io, uri)).not.toContain('verification failed');
      const load = ['--rw=randwrite', '--bsrange=512-128k', '--size=64M', '--iodepth=32', '--verify=crc32c'];
      await run('fio', '--name=v', '--ioengine=nbd', '--thread', `--uri=${uri}`, ...load, '--fsync=64');
      await run('qemu-io', '-f', 'raw', '-d', 'unmap', '-c', `discard 0 ${SIZE_BYTES}`, '-c', 'flush', uri);
      expect(await dataRanges('raw', uri)).toEqual([]);
      for (const bytes of await allocated('vm3')) expect(bytes).toBeLessThan(MiB);
    },
    3 * MINUTES,
  );
});
