import { closeSync, fsyncSync, ftruncateSync, openSync, readdirSync, statSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ok } from '../cli/outcome.js';
import { until } from '../cli/programs.js';
import { CAN_MOUNT, Mounted } from './rig.js';

vi.setConfig({ testTimeout: 600_000 });

const MiB = 1024 * 1024;
/** For so long, and not longer, the kernel relies on what it was told of a name. */
const VALID_MS = 1000;
let mounted: Mounted;
let other: Mounted;
const volume = async (...args: string[]) => ok(await mounted.cluster.volume(...args));

/** What a path of the other mount is there, by its size; null for nothing. */
function sizeOf(name: string): number | null {
  return statSync(other.path(name), { throwIfNoEntry: false })?.size ?? null;
}

/**
 * Has a change made that the other mount has no part in, and looks there, once what the kernel was told before has ended. However slow
 * the machine is, the look begins more than that after the answer before. Who writes has to sync: a close is answered before the size is on
 * record.
 */
async function after(change: () => unknown, sizes: Readonly<Record<string, number | null>>): Promise<void> {
  for (const name of Object.keys(sizes)) sizeOf(name);
  await change();
  await sleep(VALID_MS + 200);
  const found = Object.fromEntries(Object.keys(sizes).map((name) => [name, sizeOf(name)]));
  expect(found).toEqual(sizes);
  const there = Object.keys(sizes).filter((name) => sizes[name] !== null && !name.includes('/'));
  const gone = Object.keys(sizes).filter((name) => sizes[name] === null);
  const listed = readdirSync(other.dir);
  expect(listed).toEqual(expect.arrayContaining(there));
  for (const name of gone) expect(listed).not.toContain(name);
}

describe.skipIf(!CAN_MOUNT)('stat by path, while others change what is there', () => {
  beforeAll(async () => {
    mounted = await Mounted.start(['--osts', '2', '--no-volume']);
    other = await Mounted.on(mounted.cluster, 'other');
  }, 300_000);
  afterAll(async () => {
    await other?.end();
    await mounted?.remove();
  }, 300_000);

  it('has the sizes that another mount gives files, open or closed', async () => {
    await after(() => mounted.sh('truncate -s 5000001 a; sync a'), { a: 5000001 });
    await after(() => mounted.sh('head -c 777 /dev/zero >> a; sync a'), { a: 5000778 });
    const writer = openSync(mounted.path('a'), 'r+');
    // Kept open: what was synced is on record.
    await after(
      () => {
        writeSync(writer, 'x', 9 * MiB);
        fsyncSync(writer);
      },
      { a: 9 * MiB + 1 },
    );
    await after(
      () => {
        ftruncateSync(writer, 4321);
        fsyncSync(writer);
      },
      { a: 4321 },
    );
    closeSync(writer);
    await after(() => mounted.sh("touch -d '2001-02-03 04:05:06Z' a; sync a"), { a: 4321 });
    expect(statSync(other.path('a')).mtimeMs).toBe(Date.parse('2001-02-03T04:05:06Z'));
    await after(() => mounted.sh('rm a'), { a: null });
    await after(() => mounted.sh('head -c 99 /dev/zero > a; sync a'), { a: 99 });
    await mounted.sh('rm a');
  });

  it('has the names that others give files, and take from them', async () => {
    await after(() => volume('create', 'b', '--size', '1M'), { b: MiB });
    await after(() => mounted.sh('mv b c'), { b: null, c: MiB });
    await after(() => volume('rename', 'c', 'd'), { c: null, d: MiB });
    await mounted.sh('head -c 1234 /dev/zero > new; sync new');
    await after(() => mounted.sh('mv new d'), { new: null, d: 1234 });
    await after(() => volume('rm', 'd', '-y'), { d: null });
  });

  it('has what a gateway writes, and sizes that volumes get meanwhile', async () => {
    await after(() => volume('create', 'v', '--size', '8M'), { v: 8 * MiB });
    await until(() => statSync(other.path('v')).blocks === 0);
    const client = execa('qemu-io', ['-f', 'raw', '-d', 'unmap', mounted.cluster.uriOf('v')], {
      reject: false,
    });
    client.stdin!.write('write -P 5 1M 2M\nflush\n');
    await until(() => statSync(other.path('v')).blocks * 512 === 2 * MiB);
    // The gateway has it open, and does it.
    await after(() => volume('resize', 'v', '12M'), { v: 12 * MiB });
    client.stdin!.end('quit\n');
    await client;
    await after(() => volume('resize', 'v', '3M', '--shrink'), { v: 3 * MiB });
    expect(await other.sh('head -c 2M v | tail -c 1')).toBe('\x05');
  });

  it('has snapshots as they are taken, rolled back to and removed', async () => {
    const one = '.snapshots/v@one';
    await after(() => volume('snapshot', 'v@one'), { v: 3 * MiB, [one]: 3 * MiB });
    await after(() => mounted.sh('truncate -s 7000000 v; sync v'), { v: 7_000_000, [one]: 3 * MiB });
    await after(() => volume('snapshot', 'rollback', 'v@one', '--no-safety', '-y'), {
      v: 3 * MiB,
      [one]: 3 * MiB,
    });
    await after(() => volume('clone', 'v@one', 'w'), { w: 3 * MiB });
    await volume('rm', 'w', '-y');
    await after(() => volume('snapshot', 'rm', 'v@one', '-y'), { v: 3 * MiB, [one]: null });
    await after(() => mounted.sh('rm v'), { v: null });
  });

  it('finds a file that was replaced right after the kernel was told of the one before', async () => {
    await mounted.sh('echo 0 > config; sync config');
    for (let round = 1; round <= 5; round++) {
      expect(sizeOf('config')).toBeGreaterThan(0);
      await mounted.sh(`echo ${round} > next; sync next; mv next config`);
      // All of it within the second, or else it is told anew.
      expect(await other.sh('cat config')).toBe(`${round}`);
    }
    await mounted.sh('rm config');
  });

  it('never misses a file that is replaced, whenever it looks, nor sees it shrink that grows', async () => {
    await mounted.sh('echo 0 > log; echo 0 > config; sync log config');
    const program = `
import os, sys
log = config = looks = 0
while not os.path.exists('../enough'):
    size = os.stat('log').st_size; assert size >= log, ('log', log, size); log = size
    size = os.stat('config').st_size; assert size >= config, ('config', config, size); config = size
    looks += 1
print(looks)`;
    const looker = execa('python3', ['-c', program], { cwd: other.dir, reject: false });
    let ended = false;
    void looker.then(() => {
      ended = true;
    });
    const log = openSync(mounted.path('log'), 'a');
    for (let round = 1; round <= 40 && !ended; round++) {
      writeSync(log, 'more\n');
      fsyncSync(log);
      await mounted.sh(`(head -c ${round} /dev/zero | tr '\\0' x; echo 0) > next; sync next; mv next config`);
    }
    closeSync(log);
    await mounted.sh('touch ../enough');
    const { exitCode, stdout, stderr } = await looker;
    expect(exitCode, stderr).toBe(0);
    expect(Number(stdout)).toBeGreaterThan(0);
    await mounted.sh('rm log config');
  });
});
