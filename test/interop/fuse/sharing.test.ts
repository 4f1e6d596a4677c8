import { closeSync, existsSync, fsyncSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ok } from '../cli/outcome.js';
import { until } from '../cli/programs.js';
import { CAN_MOUNT, Mounted } from './rig.js';

let mounted: Mounted;
let other: Mounted;

describe.skipIf(!CAN_MOUNT)('files that two mounts share', () => {
  beforeAll(async () => {
    mounted = await Mounted.start(['--osts', '2', '--no-volume']);
    other = await Mounted.on(mounted.cluster, 'other');
  }, 120_000);
  afterAll(async () => {
    await other?.end();
    await mounted?.remove();
  });

  it('are not replaced by one that cannot be renamed', async () => {
    await mounted.sh('echo old > b; echo new > a');
    const writer = openSync(other.path('a'), 'r+');
    expect(await mounted.fails('mv a b')).toContain('busy');
    expect(await mounted.fails('touch a')).toContain('busy');
    expect(await mounted.sh('cat b; ls')).toBe('old\na\nb');
    closeSync(writer);
    await mounted.sh('mv a b; test "$(ls)" = b; test "$(cat b)" = new; rm b');
  });

  it('are followed as they grow, and have snapshots as long as they are', async () => {
    const writer = openSync(mounted.path('log'), 'w');
    writeSync(writer, 'one\n');
    const reader = openSync(other.path('log'), 'r');
    const read = () => {
      const bytes = Buffer.alloc(100);
      return bytes.toString('latin1', 0, readSync(reader, bytes, 0, 100, 0));
    };
    fsyncSync(writer);
    await until(() => read() === 'one\n');
    writeSync(writer, 'two\n');
    fsyncSync(writer);
    await until(() => read() === 'one\ntwo\n');
    // Not on record yet.
    writeSync(writer, 'three\n');
    ok(await mounted.cluster.volume('snapshot', 'log@now'));
    expect(readFileSync(other.path('.snapshots/log@now'), 'latin1')).toBe('one\ntwo\nthree\n');
    closeSync(reader);
    closeSync(writer);
    ok(await mounted.cluster.volume('snapshot', 'rm', 'log@now', '-y'));
    await mounted.sh('rm log');
  });

  it('tell their size to who has them open while the metadata server is away; the mount is seen in the status', async () => {
    const mounts = async () => {
      const { servers } = JSON.parse(ok(await mounted.cluster.rawstor('status', '--output', 'json')));
      return (servers as { role: string; addresses: string[] }[]).filter(({ role }) => role === 'mount');
    };
    await until(async () => (await mounts()).length === 2);
    expect((await mounts()).map(({ addresses }) => addresses[0]).sort()).toEqual([mounted.dir, other.dir]);
    // Another process: this one would stand still with it.
    const program = [
      'import os, sys',
      "fd = os.open('open', os.O_RDWR | os.O_CREAT); os.write(fd, b'x' * 1234); print('ready', flush=True)",
      "sys.stdin.readline(); os.write(fd, b'y'); print(os.fstat(fd).st_size)",
    ].join('\n');
    const writer = execa('python3', ['-c', program], { cwd: mounted.dir, timeout: 60_000, reject: false });
    await new Promise((resolve) => writer.stdout!.once('data', resolve));
    const mds = mounted.cluster.facts.pids.mds!;
    process.kill(mds, 'SIGSTOP');
    const late = setTimeout(() => process.kill(mds, 'SIGCONT'), 9000);
    try {
      // Not within the second for which the kernel knows it.
      await sleep(1100);
      const beganMs = Date.now();
      writer.stdin!.end('\n');
      await new Promise((resolve) => writer.stdout!.once('data', resolve));
      expect(Date.now() - beganMs).toBeLessThan(6000);
    } finally {
      clearTimeout(late);
      process.kill(mds, 'SIGCONT');
    }
    expect((await writer).stdout).toBe('ready\n1235');
    await mounted.sh('rm open');
  });

  it('are renamed after the process that wrote them was killed', async () => {
    await mounted.sh('echo there > there');
    const writer = openSync(other.path('left'), 'w');
    writeSync(writer, 'left');
    await other.end('SIGKILL');
    try {
      closeSync(writer);
    } catch {
      // Not connected any more.
    }
    await mounted.sh('sleep 3; mv left there; test "$(ls)" = there');
    expect(existsSync(mounted.path('left'))).toBe(false);
    await other.mount();
    await mounted.sh('rm there');
  });
});
