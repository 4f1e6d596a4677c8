import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../src/common/clock.js';
import { GiB, KiB, MiB } from '../../src/common/units.js';
import { goData, optionBytes, RawNbd, request, u32 } from '../fixtures/nbd-client.js';
import { call, deaf, HELLO } from '../fixtures/raw-peer.js';
import { UpCluster } from './cli/programs.js';

/** A whole cluster among clients and peers that mean it ill: its memory, and what another client feels of them. */

const MINUTES = 60_000;
const LIMIT_MIB = 400;
/** A good client's request never takes longer; most of it is what the machine and the test itself need. */
const SLOWEST_MS = 5000;
const OWN = 4 * GiB;

const READ = 0;
const WRITE = 1;
const TRIM = 4;
const WRITE_ZEROES = 6;
const BLOCK_STATUS = 7;

let up: UpCluster;
let socket: string;
const clients: RawNbd[] = [];
const peers: Socket[] = [];
let working: Promise<{ rounds: number; slowestMs: number }>;
let over = false;

beforeAll(async () => {
  up = await UpCluster.start(['--osts', '2', '--volume', 'vm1:8G']);
  socket = up.facts.nbd[0]!;
}, MINUTES);

afterAll(() => up.remove(), MINUTES);

beforeEach(() => {
  over = false;
  working = work();
});

afterEach(async () => {
  over = true;
  const { rounds, slowestMs } = await working;
  for (const client of clients.splice(0)) client.destroy();
  for (const peer of peers.splice(0)) peer.destroy();
  expect(rounds).toBeGreaterThan(10);
  expect(slowestMs).toBeLessThan(SLOWEST_MS);
  const pids = { up: up.process.pid!, ...up.facts.pids };
  for (const [name, pid] of Object.entries(pids)) {
    const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    expect(Number(peak![1]) / 1024, name).toBeLessThan(LIMIT_MIB);
  }
}, MINUTES);

async function open(options: { structured?: boolean; allocation?: boolean } = {}): Promise<RawNbd> {
  const client = await RawNbd.open(socket, { name: 'vm1', ...options });
  clients.push(client);
  return client;
}

/** Writes, reads back and compares in a part of the volume of its own. */
async function work(): Promise<{ rounds: number; slowestMs: number }> {
  const client = await open();
  let slowestMs = 0;
  let rounds = 0;
  for (; !over; rounds++) {
    const beganMs = performance.now();
    const length = rounds % 4 === 0 ? 256 * KiB : 4 * KiB;
    const offset = OWN + (rounds % 512) * MiB;
    const data = Buffer.alloc(length, (rounds % 250) + 1);
    client.send(request(WRITE, offset, length), data);
    expect((await client.simpleReply()).errno).toBe(0);
    client.send(request(READ, offset, length));
    expect((await client.simpleReply(length)).data.equals(data)).toBe(true);
    slowestMs = Math.max(slowestMs, performance.now() - beganMs);
    await systemClock.sleep(1);
  }
  return { rounds, slowestMs };
}

const rest = (ms: number) => systemClock.sleep(ms);

it(
  'readers of 32 MiB that take nothing, and writers of 32 MiB that send byte by byte',
  async () => {
    const filler = await open();
    for (let i = 0; i < 64; i++) {
      filler.send(request(WRITE, i * MiB, MiB), Buffer.alloc(MiB, 5));
      expect((await filler.simpleReply()).errno).toBe(0);
    }
    for (let i = 0; i < 30; i++) {
      const reader = await open({ structured: i % 2 === 0 });
      reader.socket.pause();
      for (let k = 0; k < 64; k++) reader.send(request(READ, 0, 32 * MiB, { cookie: k }));
    }
    const writers: RawNbd[] = [];
    for (let i = 0; i < 100; i++) {
      const writer = await open();
      writer.send(request(WRITE, 0, 32 * MiB), Buffer.alloc(300 * KiB));
      writers.push(writer);
    }
    for (let i = 0; i < 40; i++) {
      for (const writer of writers) writer.send(Buffer.alloc(1));
      await rest(100);
    }
    // Somebody with large requests gets on as well.
    const beganMs = performance.now();
    for (let i = 0; i < 4; i++) filler.send(request(READ, i * MiB, MiB));
    for (let i = 0; i < 4; i++) expect((await filler.simpleReply(MiB)).errno).toBe(0);
    expect(performance.now() - beganMs).toBeLessThan(SLOWEST_MS);
    await rest(12_000);
  },
  3 * MINUTES,
);

it(
  'options without end, of any length, and answers to them that nobody reads',
  async () => {
    const greeted = async () => {
      const client = await RawNbd.connect(socket);
      clients.push(client);
      await client.greet();
      return client;
    };
    for (let i = 0; i < 40; i++) {
      const client = await greeted();
      client.socket.pause();
      const asked = i % 2 === 0 ? optionBytes(3, Buffer.alloc(0)) : optionBytes(6, goData('vm1', 1, 2, 3));
      for (let k = 0; k < 2000; k++) client.send(asked);
    }
    for (const length of [64 * KiB + 1, 32 * MiB, 32 * MiB + 1, 0xffffffff]) {
      for (let i = 0; i < 5; i++) (await greeted()).send(optionBytes(10, Buffer.alloc(100_000), length));
    }
    for (let i = 0; i < 5; i++) {
      const client = await greeted();
      for (let k = 0; k < 300; k++) {
        expect((await client.option(6, goData('vm1'))).at(-1)!.type).toBe(1);
      }
    }
    const flags = await RawNbd.connect(socket);
    await flags.read(18);
    flags.send(u32(0xffffffff));
    await flags.closed;
    await rest(2000);
  },
  2 * MINUTES,
);

it(
  'thousands of connections that say nothing, and half of something',
  async () => {
    for (let i = 0; i < 3000; i++) {
      peers.push(deaf(socket, ...(i % 3 === 0 ? [] : [Buffer.from('\0\0\0\x03IHAVE')])));
      if (i % 50 === 0) await rest(5);
    }
    for (const address of [up.facts.mds, up.facts.mgs, up.facts.osts[0]!]) {
      for (let i = 0; i < 3000; i++) {
        peers.push(deaf(address, ...[[], [HELLO], [HELLO.subarray(0, 50)]][i % 3]!));
        if (i % 50 === 0) await rest(5);
      }
    }
    await rest(6000);
    // Those in transmission, with nothing asked.
    for (const peer of peers.splice(0)) peer.destroy();
    for (let i = 0; i < 500; i++) await open();
    expect((await up.rawstor('status')).code).toBe(0);
  },
  3 * MINUTES,
);

it(
  'who leaves in the middle, again and again',
  async () => {
    for (let i = 0; i < 150; i++) {
      const client = await open();
      client.send(request(READ, 0, 32 * MiB), request(WRITE, MiB, 32 * MiB), Buffer.alloc((i % 7) * 700_000));
      await rest(i % 20);
      client.destroy();
    }
  },
  2 * MINUTES,
);

it(
  'all of the disk, discarded, zeroed and asked about by many at once',
  async () => {
    for (let i = 0; i < 20; i++) {
      const client = await open({ structured: true, allocation: true });
      client.socket.pause();
      for (let k = 0; k < 300; k++) client.send(request(BLOCK_STATUS, 0, 4 * GiB - 4096, { cookie: k }));
    }
    const wild = await open({ structured: true });
    wild.socket.resume();
    for (let k = 0; k < 30; k++) {
      wild.send(
        request(TRIM, 0, OWN - 4096, { cookie: k }),
        request(READ, 0, 32 * MiB, { cookie: k, flags: k % 2 === 0 ? 4 : 0 }),
        request(WRITE_ZEROES, 0, OWN - 4096, { cookie: k, flags: 2 * (k % 2) }),
        request(READ, 8 * GiB, 32 * MiB, { cookie: k }),
        request(k, 2 ** 62, 0xffffffff, { cookie: k, flags: 0xffff }),
      );
      await rest(50);
    }
    await rest(3000);
  },
  3 * MINUTES,
);

it(
  'peers of the servers that ask for all that is known and read nothing',
  async () => {
    const spec = { sizeBytes: GiB, chunkSizeBytes: GiB, replicas: 2, minReplicas: 1, stripeWidth: 1 };
    const more = { failureDomain: 'host', near: null, onDegraded: 'pause' };
    for (let i = 0; i < 4; i++) {
      const make = (k: number) => call(k + 1, 'mds.createObject', { name: `x${i}-${k}`, ...spec, ...more });
      peers.push(deaf(up.facts.mds, HELLO, ...Array.from({ length: 250 }, (_, k) => make(k))));
    }
    await rest(5000);
    const asked: Record<string, unknown> = {
      'mds.list': { after: '', limit: 1024 },
      'mds.dump': { after: '' },
      'mds.listOsts': {},
      'mgs.cluster': {},
      'ost.objects': { after: null },
      'ost.stat': {},
    };
    for (const [method, params] of Object.entries(asked)) {
      const role = method.slice(0, 3) as 'mds' | 'mgs';
      const address = role === 'mds' || role === 'mgs' ? up.facts[role] : up.facts.osts[0]!;
      const calls = Array.from({ length: 250 }, (_, i) => call(i + 1, method, params));
      for (let i = 0; i < 30; i++) {
        const peer = deaf(address, HELLO, ...calls);
        peers.push(peer);
        for (let k = 0; k < 20; k++) peer.write(Buffer.concat(calls));
      }
    }
    await rest(5000);
    expect((await up.rawstor('status')).code).toBe(0);
  },
  4 * MINUTES,
);
