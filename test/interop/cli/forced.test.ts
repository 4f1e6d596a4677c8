import { afterAll, beforeAll, expect, test } from 'vitest';
import { begin, UpCluster, until } from './programs.js';

/** Verbs told to go on in spite of something, or only to say what they would do. */

const MINUTES = 60_000;
let up: UpCluster;

beforeAll(async () => {
  up = await UpCluster.start(['--osts', '2']);
}, 2 * MINUTES);
afterAll(() => up.remove(), MINUTES);

const json = async (...args: string[]) => {
  const { code, stdout, stderr } = await up.rawstor(...args, '--output', 'json');
  return { code, stderr, value: stdout === '' ? null : JSON.parse(stdout) };
};

test(
  'detach --force does not wait for writes that wait for replicas',
  async () => {
    const made = await up.volume('create', 'v', '--size', '64M', '--min-replicas', '2');
    expect(made.code, made.stderr).toBe(0);
    const guest = begin(
      'cli/rawstor-volume',
      ['attach', 'v', '--run', `qemu-io -f raw -c 'write 0 4k' -c 'sleep 4000' -c 'write 8k 4k' "$uri"`],
      { cwd: up.cwd },
    );
    const info = async () => JSON.parse((await up.volume('info', 'v', '--output', 'json')).stdout);
    await until(async () => (await info()).lease !== null);
    const pid = up.facts.pids['ost-1']!;
    process.kill(pid, 'SIGSTOP');
    try {
      await until(async () =>
        (await info()).members.some(({ state }: { state: string }) => state === 'stale'),
      );
      await new Promise((resolve) => setTimeout(resolve, 4000));
      expect((await up.volume('detach', 'v')).code).toBe(75);
      const askedAtMs = Date.now();
      const detached = await up.volume('detach', 'v', '--force', '--output', 'json');
      expect(detached.code, detached.stderr).toBe(0);
      expect(JSON.parse(detached.stdout)).toMatchObject({ wasOpen: true, connectionsEnded: 1 });
      expect(Date.now() - askedAtMs).toBeLessThan(8000);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    expect((await guest).stdout).toMatch(/Input\/output error|write failed/);
    await until(async () => (await up.rawstor('recover', 'v')).code === 0);
  },
  MINUTES,
);

test(
  'drain --cancel --dry-run only says what it would give up',
  async () => {
    const [ost] = (await json('ost', 'ls')).value as { ostId: string }[];
    await up.rawstor('ost', 'drain', ost!.ostId);
    const draining = async () =>
      (await json('ost', 'ls')).value.find((row: { ostId: string }) => row.ostId === ost!.ostId).draining;
    expect(await draining()).toBe(true);
    const would = await json('ost', 'drain', ost!.ostId, '--cancel', '--dry-run');
    expect(would).toMatchObject({ code: 0, value: { draining: true, dryRun: true } });
    expect(await draining()).toBe(true);
    expect((await json('ost', 'drain', ost!.ostId, '--cancel')).value.draining).toBe(false);
    expect(await draining()).toBe(false);
  },
  MINUTES,
);

test(
  'a volume over all OSTs says why it cannot leave one, and what can be done',
  async () => {
    const made = await up.volume(
      'create',
      'wide',
      '--size',
      '64M',
      '--chunk-size',
      '1M',
      '--stripe-width',
      'all',
    );
    expect(made.code, made.stderr).toBe(0);
    const [ost] = (await json('ost', 'ls')).value as { ostId: string }[];
    const planned = await json('ost', 'drain', ost!.ostId, '--dry-run');
    expect(planned.code).toBe(73);
    const row = planned.value.find(({ volume }: { volume: string }) => volume === 'wide');
    expect(row.detail).toMatch(/spread over all OSTs \(--stripe-width all\).*start another OST/);
  },
  MINUTES,
);

test(
  'empty names are told as such',
  async () => {
    for (const [program, ...args] of [
      ['rawstor-volume', 'info', ''],
      ['rawstor-volume', 'create', '', '--size', '1M'],
      ['rawstor-volume', 'rm', ' '],
      ['rawstor-volume', 'rename', 'v', ''],
      ['rawstor', 'ost', 'drain', ''],
      ['rawstor', 'recover', 'v', ''],
      ['rawstor', 'scrub', ''],
    ] as const) {
      const told = program === 'rawstor' ? await up.rawstor(...args) : await up.volume(...args);
      expect(told.code, args.join(' ')).toBe(64);
      expect(told.stderr, args.join(' ')).toMatch(
        /^rawstor(-volume)?: the argument '\w+' is empty \[USAGE\]\n/,
      );
    }
  },
  MINUTES,
);
