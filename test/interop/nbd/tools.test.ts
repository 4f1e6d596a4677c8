import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MiB } from '../../../src/common/units.js';
import { hasTool, run, Served } from './served.js';

let served: Served;
beforeAll(async () => {
  served = await Served.start(
    '--export',
    'disk=128M',
    '--export',
    'readonly=16M,ro',
    '--export',
    'alone=16M,single',
    '--export',
    'odd name/é=16M',
  );
});
afterAll(() => served.stop());

describe.skipIf(!hasTool('nbdinfo'))('nbdinfo', () => {
  test('tells all there is to tell', async () => {
    const { exports } = JSON.parse(await run('nbdinfo', '--json', served.uri('disk')));
    expect(exports[0]).toMatchObject({
      'export-name': 'disk',
      description: 'disk in memory',
      'export-size': 128 * MiB,
      contexts: ['base:allocation'],
      is_read_only: false,
      can_cache: true,
      can_df: true,
      can_fast_zero: true,
      can_flush: true,
      can_fua: true,
      can_multi_conn: true,
      can_trim: true,
      can_zero: true,
      block_size_minimum: 512,
      block_size_preferred: 4096,
      block_size_maximum: 32 * MiB,
    });
  });

  test('tells what an export cannot do', async () => {
    const { exports } = JSON.parse(await run('nbdinfo', '--json', served.uri('readonly')));
    expect(exports[0]).toMatchObject({
      is_read_only: true,
      can_trim: false,
      can_zero: false,
      can_fua: false,
    });
    await expect(run('nbdinfo', '--can', 'multi-conn', served.uri('alone'))).rejects.toThrow();
    await run('nbdinfo', '--can', 'multi-conn', served.uri('disk'));
  });

  test('lists every export, whatever its name', async () => {
    const { exports } = JSON.parse(await run('nbdinfo', '--list', '--json', served.uri('')));
    const names = exports.map((entry: { 'export-name': string }) => entry['export-name']);
    expect(names).toEqual(['disk', 'readonly', 'alone', 'odd name/é']);
    expect(await run('nbdinfo', '--size', served.uri('odd name/é'))).toBe(String(16 * MiB));
  });
});

describe.skipIf(!hasTool('qemu-io'))('qemu', () => {
  const io = (name: string, ...commands: string[]) =>
    run('qemu-io', '-f', 'raw', ...commands.flatMap((command) => ['-c', command]), served.uri(name));

  test('qemu-io: patterns, zeroes, discards, FUA, flush, long and odd requests', async () => {
    const said = await io(
      'disk',
      'write -P 0x5a 0 64k',
      'read -P 0x5a 0 64k',
      'write -P 7 1M 40M',
      'read -P 7 1M 40M',
      'write -z 2M 1M',
      'read -P 0 2M 1M',
      'write -z -u 4M 1M',
      'read -P 0 4M 1M',
      'read -P 7 3M 1M',
      'discard 5M 1M',
      'read -P 0 5M 1M',
      'write -f -P 3 512 512',
      'read -P 3 512 512',
      'write -P 9 1000 3000',
      'read -P 9 1000 3000',
      'read -P 0x5a 4096 4096',
      'writev -P 11 100M 4k 512 64k 1M',
      'readv -P 11 100M 1M 64k 512 4k',
      'flush',
    );
    expect(said).not.toMatch(/failed|error/i);
    expect(said.match(/(wrote|read|discard) \d+\/\d+ bytes/g)).toHaveLength(18);
  });

  test('an export that cannot be had says why', async () => {
    await expect(run('qemu-img', 'info', served.uri('nope'))).rejects.toThrow(/no export 'nope'/);
  });

  test('qemu-io: many requests at once', async () => {
    const commands: string[] = [];
    for (let i = 0; i < 64; i++) commands.push(`aio_write -P ${i + 1} ${i * 128}k ${(i % 16) * 8 + 8}k`);
    commands.push('aio_flush');
    for (let i = 0; i < 64; i++) commands.push(`aio_read -P ${i + 1} ${i * 128}k ${(i % 16) * 8 + 8}k`);
    commands.push('aio_flush');
    const said = await io('disk', ...commands);
    expect(said).not.toMatch(/failed|error/i);
    expect(said.match(/wrote \d+/g)).toHaveLength(64);
    expect(said.match(/read \d+/g)).toHaveLength(64);
  });

  test('qemu-io: a read-only export is not written to', async () => {
    const said = await run('qemu-io', '-r', '-f', 'raw', '-c', 'read -P 0 0 1M', served.uri('readonly'));
    expect(said).toContain('read 1048576/1048576');
    await expect(io('readonly', 'write 0 512')).rejects.toThrow(/read-only|permission denied/i);
  });

  test('qemu-img: convert there and back, map and compare', async () => {
    const image = Buffer.alloc(16 * MiB);
    randomBytes(MiB).copy(image, 3 * MiB);
    randomBytes(MiB).copy(image, 9 * MiB + 4096);
    await writeFile(served.path('in.raw'), image);
    await run(
      'qemu-img',
      'convert',
      '-n',
      '-f',
      'raw',
      '-O',
      'raw',
      served.path('in.raw'),
      served.uri('alone'),
    );
    await run(
      'qemu-img',
      'convert',
      '-f',
      'raw',
      '-O',
      'qcow2',
      served.uri('alone'),
      served.path('out.qcow2'),
    );
    const compare = ['compare', '-f', 'raw', '-F', 'qcow2', served.path('in.raw'), served.path('out.qcow2')];
    expect(await run('qemu-img', ...compare)).toContain('identical');
    const map = JSON.parse(await run('qemu-img', 'map', '--output=json', '-f', 'raw', served.uri('alone')));
    const data = map.filter((entry: { zero: boolean }) => !entry.zero);
    expect(data.map(({ start, length }: { start: number; length: number }) => [start, length])).toEqual([
      [3 * MiB, MiB],
      [9 * MiB, MiB + 64 * 1024],
    ]);
  });
});

describe.skipIf(!hasTool('nbdcopy'))('nbdcopy', () => {
  test('copies over several connections, with holes', async () => {
    const image = Buffer.alloc(100 * MiB);
    for (let i = 0; i < 100; i += 7) randomBytes(MiB).copy(image, i * MiB);
    await writeFile(served.path('in.raw'), image);
    await run('nbdcopy', '--connections=4', '--requests=32', served.path('in.raw'), served.uri('disk'));
    await run('nbdcopy', '--connections=4', '--requests=32', served.uri('disk'), served.path('out.raw'));
    const out = await readFile(served.path('out.raw'));
    expect(out.subarray(0, image.length).equals(image)).toBe(true);
  });
});

describe.skipIf(!hasTool('fio'))('fio', () => {
  test.each([
    ['512-byte to 256 KiB blocks', '--rw=randrw', '--bsrange=512-256k', '--iodepth=32', '--size=48M'],
    ['long blocks', '--rw=write', '--bs=3M', '--iodepth=4', '--size=96M'],
    ['trims among writes', '--rw=randtrimwrite', '--bs=64k', '--iodepth=8', '--size=16M'],
  ])('verifies by crc32c: %s', async (_name, ...args) => {
    await run(
      'fio',
      '--name=verify',
      '--ioengine=nbd',
      `--uri=${served.uri('disk')}`,
      '--verify=crc32c',
      '--verify_fatal=1',
      '--verify_state_save=0',
      `--aux-path=${served.dir}`,
      '--output-format=json',
      `--output=${served.path('fio.json')}`,
      ...args,
    );
    const { jobs } = JSON.parse(await readFile(served.path('fio.json'), 'utf8'));
    expect(jobs[0].error).toBe(0);
    expect(jobs[0].read.total_ios + jobs[0].write.total_ios).toBeGreaterThan(0);
  });
});

describe.skipIf(!hasTool('nbdinfo'))('over TCP', () => {
  test('the same server', async () => {
    const tcp = await Served.startTcp('--export', 'disk=32M');
    expect(await run('nbdinfo', '--size', tcp.uri(''))).toBe(String(32 * MiB));
    await writeFile(tcp.path('in.raw'), randomBytes(20 * MiB));
    await run('nbdcopy', tcp.path('in.raw'), tcp.uri('disk'));
    await run('nbdcopy', tcp.uri('disk'), tcp.path('out.raw'));
    const out = await readFile(tcp.path('out.raw'));
    expect(out.subarray(0, 20 * MiB).equals(await readFile(tcp.path('in.raw')))).toBe(true);
    await tcp.stop();
  });
});
