import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory, UpCluster, until } from '../cli/programs.js';
import { CAN_MOUNT, Mounted } from './rig.js';

const LONG = process.env.RAWSTOR_TEST_LONG === '1';
let mounted: Mounted;
const ostPid = (index: number) => mounted.cluster.facts.pids[`ost-${index}`]!;

/** Appends records of 16 bytes, and says how many of them are durable. */
const WRITER = `
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o600)
n = 0
try:
    while True:
        for _ in range(37):
            os.write(fd, b'%015d\\n' % n); n += 1
        os.fsync(fd)
        print(n, flush=True)
except OSError as error:
    print('ended', error.errno, flush=True)
`;

describe.skipIf(!CAN_MOUNT)('a mount when things break', () => {
  beforeAll(async () => {
    mounted = await Mounted.start(['--osts', '3', '--no-volume']);
    writeFileSync(join(mounted.cluster.cwd, 'writer.py'), WRITER);
  }, 120_000);
  afterAll(() => mounted?.remove());

  it('loses nothing that was synced when its process is killed, time and again', async () => {
    for (let round = 0; round < (LONG ? 20 : 3); round++) {
      const name = `log-${round}`;
      const writer = execa('python3', [join(mounted.cluster.cwd, 'writer.py'), mounted.path(name)]);
      let said = '';
      writer.stdout!.on('data', (bytes: Buffer) => {
        said += bytes.toString();
      });
      // What is told may come in pieces.
      const told = () => said.split('\n').slice(0, -1);
      await until(() => told().length > 3);
      await mounted.end('SIGKILL');
      await writer;
      const lines = told();
      // ENOTCONN, or ECONNABORTED of the request that was under way.
      expect(lines.at(-1)).toMatch(/^ended (107|103)$/);
      await mounted.mount();
      const durable = Number(lines.filter((line) => /^\d+$/.test(line)).at(-1));
      const text = await mounted.sh(`cat ${name}`);
      const records = text.split('\n').filter((line) => line.length === 15);
      expect(records.length).toBeGreaterThanOrEqual(durable);
      expect(records.every((record, i) => Number(record) === i)).toBe(true);
      await mounted.sh(`echo more >> ${name}; rm ${name}`);
    }
  });

  it('lists while an OST does not answer', async () => {
    await mounted.sh('for i in $(seq 12); do echo $i > f$i; done');
    process.kill(ostPid(1), 'SIGSTOP');
    try {
      const beganMs = Date.now();
      expect(await mounted.sh('ls -l | wc -l; stat f3 > /dev/null; df . > /dev/null', 20_000)).toBe('13');
      // Each of the names would wait for the OST.
      expect(Date.now() - beganMs).toBeLessThan(5000);
    } finally {
      process.kill(ostPid(1), 'SIGCONT');
    }
    await mounted.sh('cat f* | wc -l; rm f*');
  });

  it('does not say that a file has nothing in it while no OST tells what it takes', async () => {
    await mounted.sh('head -c 100000 /dev/urandom > full; sync full');
    await mounted.end();
    await mounted.mount();
    for (const index of [1, 2, 3]) process.kill(ostPid(index), 'SIGSTOP');
    try {
      // Programs read nothing of a file without blocks, and take it for one of zeros.
      expect(statSync(mounted.path('full')).blocks).toBeGreaterThan(0);
    } finally {
      for (const index of [1, 2, 3]) process.kill(ostPid(index), 'SIGCONT');
    }
    await mounted.sh('rm full');
  });

  it('gives a program back that is ended while its volume waits', async () => {
    await mounted.end();
    await mounted.mount({}, '--replicas', '1', '--on-degraded', 'pause');
    const reader = execa(
      'bash',
      ['-c', 'exec 9<> stuck; while dd if=/dev/zero bs=64k count=1 conv=notrunc >&9; do :; done'],
      {
        cwd: mounted.dir,
        reject: false,
      },
    );
    await until(() => existsSync(mounted.path('stuck')) && statSync(mounted.path('stuck')).size > 200_000);
    for (const index of [1, 2, 3]) process.kill(ostPid(index), 'SIGSTOP');
    try {
      await new Promise((resolve) => setTimeout(resolve, 500));
      await execa('pkill', ['-KILL', '-P', `${reader.pid}`], { reject: false });
      reader.kill('SIGKILL');
      await reader;
      expect(await mounted.sh('ls', 5000)).toContain('stuck');
    } finally {
      for (const index of [1, 2, 3]) process.kill(ostPid(index), 'SIGCONT');
    }
    await mounted.sh('rm stuck');
  });

  it('goes on while an OST is killed and comes back', async () => {
    await mounted.end();
    await mounted.mount();
    const jobs = LONG ? 'size=32m --loops=5' : 'size=4m';
    const fio = mounted.sh(
      `fio --name=v --directory=. --rw=randwrite --bs=4k --${jobs} --numjobs=4 --verify=crc32c --verify_fatal=1 --direct=1 ` +
        '--ioengine=libaio --iodepth=8 --do_verify=1 --verify_state_save=0',
      300_000,
    );
    const names = [0, 1, 2, 3].map((job) => mounted.path(`v.${job}.0`));
    await until(() => names.every((name) => existsSync(name) && statSync(name).size > 0));
    process.kill(ostPid(2), 'SIGKILL');
    expect(await fio).toContain('err= 0');
    await mounted.sh('rm v.*');
  });
});

describe.skipIf(!CAN_MOUNT)('a mount of a cluster that gets full', () => {
  it('says so, goes on reading, and has room again', async () => {
    const cwd = temporaryDirectory();
    const disk = join(cwd, 'disk');
    await execa('bash', [
      '-ec',
      `truncate -s 600M ${cwd}/img; mkfs.ext4 -qF ${cwd}/img; mkdir ${disk}; mount -o loop ${cwd}/img ${disk}`,
    ]);
    const cluster = await UpCluster.start(['--osts', '2', '--no-volume'], disk);
    const full = await Mounted.on(cluster, '../mnt');
    try {
      await full.sh('head -c 20000000 /dev/urandom > ../kept; cp ../kept kept');
      expect(await full.fails('dd if=/dev/zero of=big bs=1M count=2000')).toContain('No space left');
      await full.sh('cmp ../kept kept', 60_000);
      await full.sh('rm big');
      // What OSTs have is told every few seconds.
      await full.sh(
        'for i in $(seq 60); do cp ../kept again 2>/dev/null && break; sleep 0.5; done; cmp ../kept again',
      );
    } finally {
      await full.end();
      await cluster.stop();
      await execa('umount', ['-l', disk], { reject: false });
      rmSync(cwd, { recursive: true, force: true });
    }
  }, 240_000);
});
