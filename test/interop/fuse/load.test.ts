import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ok } from '../cli/outcome.js';
import { until } from '../cli/programs.js';
import { CAN_MOUNT, Mounted } from './rig.js';

const LONG = process.env.RAWSTOR_TEST_LONG === '1';
const EXERCISER = fileURLToPath(new URL('../../fixtures/file-exerciser.ts', import.meta.url));
let mounted: Mounted;

const exercise = (name: string, operations: number, seed: number) =>
  execa(
    process.execPath,
    ['--import', import.meta.resolve('tsx'), EXERCISER, mounted.path(name), `${operations}`, `${seed}`],
    {
      timeout: LONG ? 3_000_000 : 120_000,
    },
  );

/** It has another one each time that it is started. */
const ostPid = (index: number) =>
  Number(/\d+/.exec(readFileSync(join(mounted.cluster.facts.dir, `ost-${index}`, 'lock'), 'utf8'))![0]);
const inOrder = async () =>
  JSON.parse((await mounted.cluster.rawstor('status', '--output', 'json')).stdout).health === 'ok';

describe.skipIf(!CAN_MOUNT)('load on files', () => {
  beforeAll(async () => {
    mounted = await Mounted.start(['--osts', '3', '--no-volume']);
  }, 120_000);
  afterAll(() => mounted?.remove());

  it('random operations of all kinds do what they do on a file in memory, while OSTs are killed', async () => {
    const runs = LONG
      ? [exercise('x1', 50_000, 1), exercise('x2', 50_000, 2)]
      : [exercise('x1', 700, Date.now() % 1e6)];
    const all = Promise.all(runs);
    const ended = all.then(
      () => true,
      () => true,
    );
    // Another one each time, when all is in order: it is started again, and gets what it missed.
    for (let kills = 0; kills < (LONG ? 1000 : 1); kills++) {
      const isOver = await Promise.race([ended, sleep(LONG ? 15_000 : 1000).then(() => false)]);
      if (isOver) break;
      await until(inOrder);
      process.kill(ostPid(1 + (kills % 3)), 'SIGKILL');
    }
    await all;
    await mounted.sh('rm x*');
  }, 3_600_000);

  it('a sparse image takes what it has as data, for each replica, when it is copied', async () => {
    const [sizeMiB, pieces] = LONG ? [10_240, 256] : [256, 6];
    const dataMiB = 4 * pieces;
    const script = `
      truncate -s ${sizeMiB}M ../image
      for i in $(seq 0 ${pieces - 1}); do
        dd if=/dev/urandom of=../image bs=1M count=4 seek=$((i * ${sizeMiB} / ${pieces} + 1)) conv=notrunc status=none
      done
      cp --sparse=always ../image image; sync image; cmp ../image image; stat -c %s image`;
    const size = Number(await mounted.sh(script, LONG ? 1_800_000 : 200_000));
    expect(size).toBe(sizeMiB! * 1024 * 1024);
    const most = (MiB: number) => 1.05 * MiB + 2;
    // While an OST is slow to tell what it takes, that is its size.
    const du = async () => Number(await mounted.sh('du -m image | cut -f1'));
    const asData = (MiB: number) => MiB >= dataMiB && MiB < most(dataMiB);
    await expect.poll(du, { timeout: 60_000, interval: 500 }).toSatisfy(asData);
    const [row] = JSON.parse(ok(await mounted.cluster.volume('du', 'image', '--output', 'json')));
    expect(row.allocatedBytes / 2 ** 20).toBeGreaterThanOrEqual(2 * dataMiB);
    expect(row.allocatedBytes / 2 ** 20).toBeLessThan(most(2 * dataMiB));
    await mounted.sh('rm image ../image');
  }, 3_600_000);

  it('several jobs verify what they write, buffered and direct, while an OST is killed', async () => {
    const jobs = LONG ? '--numjobs=8 --size=64m' : '--numjobs=8 --size=256k';
    const common = `--directory=. ${jobs} --verify=crc32c --verify_fatal=1 --verify_state_save=0 --group_reporting`;
    const direct = `--direct=1 --ioengine=libaio --iodepth=16 --bsrange=512-64k --rw=randwrite`;
    const run = mounted.sh(
      `fio --name=direct ${common} ${direct}; fio --name=sync ${common} --rw=randrw --bssplit=4k/50:777/50 --bs_unaligned=1 --fsync=64`,
      LONG ? 3_000_000 : 240_000,
    );
    await until(async () => (await mounted.sh('ls')).split('\n').length === 8);
    process.kill(ostPid(2), 'SIGKILL');
    expect((await run).match(/err= 0/g)).toHaveLength(2);
    await mounted.sh('rm direct.* sync.*');
  }, 3_600_000);

  it('holds a file system that is mounted from it', async () => {
    const target = `${mounted.cluster.cwd}/fs`;
    // What is mounted goes with who mounts it, however that ends.
    const script = `exec unshare -m --propagation slave bash -ec '
      truncate -s 200M disk; mkfs.ext4 -qF disk; mkdir ${target}; mount -o loop disk ${target}
      cp -r ${fileURLToPath(new URL('../../../src', import.meta.url))} ${target}/src
      sync -f ${target}; rm -r ${target}/src/ost; fstrim ${target}; umount ${target}
      e2fsck -fn disk
      # While an OST is slow to tell what the file takes, that is its size.
      for i in $(seq 60); do used=$(du -k disk | cut -f1); test $used -ge 100000 || break; sleep 1; done
      test $used -lt 100000; rm disk'`;
    await mounted.sh(script, 120_000);
  }, 180_000);
});
