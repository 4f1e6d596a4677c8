import { afterEach, expect, test } from 'vitest';
import { BlockOp, MemoryDevice } from '../../../src/block/index.js';
import { systemClock } from '../../../src/common/clock.js';
import { silentLogger } from '../../../src/common/log.js';
import { KiB, MiB } from '../../../src/common/units.js';
import { Exports } from '../../../src/nbd-server/exports.js';
import { goData, optionBytes, RawNbd, request, string32, u32 } from '../../fixtures/nbd-client.js';
import { ManualClock, Rig, type RigOptions } from './rig.js';

const LIST = 3;

let rig: Rig;
const clients: RawNbd[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await rig.stop();
});

async function start(options: RigOptions = {}): Promise<void> {
  rig = await Rig.start(options);
}
async function open(options: Parameters<typeof RawNbd.open>[1] = {}): Promise<RawNbd> {
  const client = await RawNbd.open(rig.address, options);
  clients.push(client);
  return client;
}
async function connect(): Promise<RawNbd> {
  const client = await RawNbd.connect(rig.address);
  clients.push(client);
  return client;
}
async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (condition()) return;
    await systemClock.sleep(5);
  }
  throw new Error('waited in vain');
}

/** Bytes that tell where they belong. */
function pattern(offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 512) bytes.writeDoubleBE(offset + at + 0.5, at);
  return bytes;
}

test('a client that has ended its side gets all answers, then the end', async () => {
  await start();
  for (const structured of [false, true]) {
    const client = await open({ structured });
    const writes = Array.from({ length: 100 }, (_, i) => [
      request(1, i * 4096, 4096, { cookie: i }),
      Buffer.alloc(4096, i),
    ]).flat();
    client.send(...writes, request(3, 0, 0, { cookie: 100 }), request(0, 0, 32 * MiB, { cookie: 101 }));
    client.socket.end();
    const cookies = new Set<number>();
    for (let i = 0; i <= 100; i++) cookies.add((await client.simpleReply()).cookie);
    expect(cookies.size).toBe(101);
    let bytes = 0;
    if (!structured) bytes = (await client.simpleReply(32 * MiB)).data.length;
    else while (bytes < 32 * MiB) bytes += (await client.chunk()).payload.length - 8;
    expect(bytes).toBe(32 * MiB);
    await client.closed;
  }
});

test('a client that ends its side in the middle of a long payload is dropped', async () => {
  await start();
  const client = await open();
  client.send(request(1, 0, MiB), Buffer.alloc(512 * KiB));
  await until(() => rig.server.stats().connections === 1);
  client.socket.end();
  await client.closed;
  await until(() => rig.server.stats().connections === 0);
});

test('every byte of a conversation on its own, and all of it in one write', async () => {
  await start();
  const talk = Buffer.concat([
    u32(3),
    optionBytes(8, Buffer.alloc(0)),
    optionBytes(10, Buffer.concat([string32('disk'), u32(1), string32('base:allocation')])),
    optionBytes(7, goData('disk')),
    request(1, 4096, 1024),
    pattern(4096, 1024),
    request(3, 0, 0, { cookie: 2 }),
    request(2, 0, 0),
  ]);
  const listen = async (client: RawNbd) => {
    await client.read(18);
    expect((await client.optionReplies()).map((reply) => reply.type)).toEqual([1]);
    expect((await client.optionReplies()).map((reply) => reply.type)).toEqual([4, 1]);
    expect((await client.optionReplies()).map((reply) => reply.type)).toEqual([3, 1]);
    const cookies = [await client.simpleReply(), await client.simpleReply()].map((reply) => reply.cookie);
    expect(cookies.sort()).toEqual([1, 2]);
    await client.closed;
  };
  const slow = await connect();
  const heard = listen(slow);
  for (const byte of talk) {
    slow.socket.write(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  await heard;
  const quick = await connect();
  quick.send(talk);
  await listen(quick);
  const check = await open();
  check.send(request(0, 4096, 1024));
  expect((await check.simpleReply(1024)).data).toEqual(pattern(4096, 1024));
});

test('options that wait for the export do not overtake each other', async () => {
  await start({ beforeOpen: () => systemClock.sleep(20) });
  const client = await connect();
  await client.greet();
  client.send(
    optionBytes(6, goData('disk')),
    optionBytes(3, Buffer.alloc(0)),
    optionBytes(99, Buffer.alloc(0)),
  );
  expect((await client.optionReplies()).map((reply) => reply.type)).toEqual([3, 1]);
  expect((await client.optionReplies()).map((reply) => reply.type)).toEqual([2, 1]);
  expect((await client.optionReplies()).map((reply) => reply.type)).toEqual([0x80000001]);
});

test('unknown, busy and default exports', async () => {
  await start();
  const client = await connect();
  await client.greet();
  const [unknown] = await client.option(7, goData('nope'));
  expect(unknown!.type).toBe(0x80000006);
  expect(unknown!.data.toString()).toContain("no volume 'nope'");
  const [busy] = await client.option(7, goData('busy'));
  expect(busy!.type).toBe(0x80000002);
  expect(busy!.data.toString()).toBe('another host writes this volume [BUSY]; detach it');
  const found = await client.option(7, goData('', 1));
  expect(found.at(-1)!.type).toBe(1);
  expect(found.some((reply) => reply.data.toString().endsWith('disk'))).toBe(true);
  expect(await client.simple(0, 0, 512)).toBe(0);
});

test('the empty name with two exports is unknown', async () => {
  await start({ moreNames: ['second'] });
  const client = await connect();
  await client.greet();
  expect((await client.option(7, goData('')))[0]!.type).toBe(0x80000006);
});

test('EXPORT_NAME of an unknown export hangs up, of a known one serves', async () => {
  await start();
  const wrong = await connect();
  await wrong.greet();
  wrong.send(optionBytes(1, Buffer.from('nope')));
  await wrong.closed;
  const right = await connect();
  await right.greet(1);
  right.send(optionBytes(1, Buffer.from('disk')));
  const answer = await right.read(134);
  expect(answer.readBigUInt64BE(0)).toBe(BigInt(64 * MiB));
  expect(await right.simple(0, 0, 512)).toBe(0);
});

test('errors of requests, without and with structured replies', async () => {
  await start();
  const plain = await open();
  const ends = 64 * MiB;
  expect(await plain.simple(0, ends, 512)).toBe(22);
  expect(await plain.simple(1, ends - 512, 1024, pattern(0, 1024))).toBe(28);
  expect(await plain.simple(1, 100, 512, pattern(0, 512))).toBe(22);
  expect(await plain.simple(77, 0, 0)).toBe(22);
  expect(await plain.simple(7, 0, 512)).toBe(22);
  expect(await plain.simple(0, 0, 0)).toBe(0);
  expect(await plain.simple(1, 0, 0)).toBe(0);
  rig.fault.setRules({ op: BlockOp.WRITE, error: 'READ_ONLY' }, { op: BlockOp.FLUSH, error: 'FENCED' });
  expect(await plain.simple(1, 0, 512, pattern(0, 512))).toBe(1);
  expect(await plain.simple(3, 0, 0)).toBe(108);
  const structured = await open({ structured: true });
  structured.send(request(0, ends, 512, { cookie: 9 }));
  const refused = await structured.chunk();
  expect(refused).toMatchObject({ flags: 1, type: 0x8001, cookie: 9 });
  expect(refused.payload.readUInt32BE(0)).toBe(22);
  expect(refused.payload.subarray(6).toString()).toContain('past the export');
  structured.send(request(0, 0, 0));
  expect(await structured.chunk()).toMatchObject({ flags: 1, type: 0 });
  structured.send(request(3, 0, 0));
  expect((await structured.chunk()).payload.subarray(6).toString()).toContain('fault injected');
  const stats = rig.server.stats().exports.disk!;
  expect(stats.read.errors).toBe(2);
  expect(stats.unknown).toMatchObject({ requests: 1, errors: 1 });
  expect(stats.write).toMatchObject({ requests: 4, errors: 3 });
});

test('commands without payload reach the device, long ranges in parts', async () => {
  await start({ device: { limits: { rangeMaxBytes: MiB } } });
  const client = await open({ structured: true, allocation: true });
  const status = async (flags = 0) => {
    client.send(request(7, 0, 8 * MiB, { flags }));
    return (await client.chunk()).payload.subarray(4).toString('hex');
  };
  const hole = '0080000000000003';
  expect(await status()).toBe(hole);
  expect(await client.simple(6, 0, 4 * MiB)).toBe(0);
  expect(await status()).toBe(hole);
  client.send(request(6, 0, 3 * MiB, { flags: 2 }));
  await client.simpleReply();
  expect(await status()).toBe('0030000000000000' + '0050000000000003');
  expect(await status(8)).toBe('0030000000000000');
  expect(await client.simple(4, 0, 8 * MiB)).toBe(0);
  expect(await status()).toBe(hole);
  expect(await client.simple(5, 0, 8 * MiB)).toBe(0);
  expect(await client.simple(3, 0, 0)).toBe(0);
  rig.fault.setRules({ op: BlockOp.WRITE_ZEROES, skip: 1, error: 'NOT_SUPPORTED' });
  client.send(request(6, 0, 4 * MiB, { flags: 16 }));
  expect((await client.chunk()).payload.readUInt32BE(0)).toBe(95);
});

test.each([
  ['simple', { structured: false }, 0],
  ['structured', { structured: true }, 0],
  ['structured, unfragmented', { structured: true }, 4],
] as const)('long reads and writes among short ones: %s', async (_name, options, flags) => {
  await start();
  const client = await open(options);
  const longBytes = 33 * MiB;
  const data = pattern(MiB, longBytes);
  client.send(request(1, MiB, longBytes, { cookie: 100 }), data);
  for (let i = 0; i < 8; i++) client.send(request(1, i * 512, 512, { cookie: i }), pattern(i * 512, 512));
  const cookies = new Set<number>();
  for (let i = 0; i < 9; i++) {
    const { errno, cookie } = await client.simpleReply();
    expect(errno).toBe(0);
    cookies.add(cookie);
  }
  expect(cookies.size).toBe(9);
  for (let i = 0; i < 4; i++) {
    client.send(request(0, i * 512, 512, { cookie: i }));
    client.send(request(0, MiB, longBytes, { cookie: 100 + i, flags }));
  }
  const wanted = new Map<number, { offset: number; length: number; got: number }>();
  for (let i = 0; i < 4; i++) {
    wanted.set(i, { offset: i * 512, length: 512, got: 0 });
    wanted.set(100 + i, { offset: MiB, length: longBytes, got: 0 });
  }
  while (wanted.size > 0) {
    if (!options.structured) {
      const header = await client.read(16);
      expect(header.readUInt32BE(4)).toBe(0);
      const cookie = Number(header.readBigUInt64BE(8));
      const { offset, length } = wanted.get(cookie)!;
      expect((await client.read(length)).equals(pattern(offset, length))).toBe(true);
      wanted.delete(cookie);
      continue;
    }
    const { type, cookie, payload, flags: chunkFlags } = await client.chunk();
    const entry = wanted.get(cookie)!;
    if (type === 1) {
      const offset = Number(payload.readBigUInt64BE(0));
      expect(payload.subarray(8).equals(pattern(offset, payload.length - 8))).toBe(true);
      if (flags !== 0) expect(payload.length - 8).toBe(entry.length);
      entry.got += payload.length - 8;
    } else expect(type).toBe(0);
    if ((chunkFlags & 1) !== 0) {
      expect(entry.got).toBe(entry.length);
      wanted.delete(cookie);
    }
  }
});

test('short replies of all kinds do not get into the middle of a long one', async () => {
  // Memory for both long replies, or the second would hold up what comes after it.
  await start({ poolBytes: 64 * MiB });
  rig.fault.setRules({ op: BlockOp.READ, range: { offset: 30 * MiB, length: 512 }, hold: true });
  const client = await open({ structured: true, allocation: true });
  client.send(request(0, 0, 32 * MiB, { flags: 4 }));
  // The reply has begun and waits in its middle.
  await until(() => rig.fault.heldCount === 1);
  client.send(
    request(1, 40 * MiB, 512, { cookie: 2 }),
    pattern(0, 512),
    request(99, 0, 0, { cookie: 3 }),
    request(7, 0, 64 * MiB, { cookie: 4 }),
    request(0, 40 * MiB, 512, { cookie: 5 }),
    request(0, 0, 32 * MiB, { cookie: 6, flags: 4 }),
    request(3, 0, 0, { cookie: 7 }),
  );
  await until(() => rig.server.stats().exports.disk!.inFlight === 7);
  await systemClock.sleep(20);
  rig.fault.setRules();
  rig.fault.release();
  const first = await client.chunk();
  expect(first).toMatchObject({ cookie: 1, type: 1, flags: 0 });
  expect(first.payload.length).toBe(8 + 32 * MiB);
  expect(await client.chunk()).toMatchObject({ cookie: 1, type: 0, flags: 1 });
  const left = new Set([2, 3, 4, 5, 6, 7]);
  while (left.size > 0) {
    const magic = await client.peek(4);
    const reply = magic.readUInt32BE(0) === 0x67446698 ? await client.simpleReply() : await client.chunk();
    const expected = [2, 7].includes(reply.cookie)
      ? { errno: 0 }
      : { type: [0x8001, 5, 1][reply.cookie - 3] ?? 1 };
    if (!('type' in reply) || reply.type !== 0) expect(reply).toMatchObject(expected);
    if (!('flags' in reply) || (reply.flags & 1) === 1) left.delete(reply.cookie);
  }
});

test('a long read that fails late: error before data, cut, or error behind padding', async () => {
  await start();
  const rule = { op: BlockOp.READ, range: { offset: 20 * MiB, length: 512 }, error: 'IO' } as const;
  const fresh = async (structured: boolean) => {
    rig.fault.setRules(rule);
    return await open({ structured });
  };
  // Short enough to be read as a whole before the header leaves.
  const early = await fresh(false);
  early.send(request(0, 18 * MiB, 3 * MiB));
  expect((await early.simpleReply()).errno).toBe(5);
  expect(await early.simple(0, 0, 512)).toBe(0);
  // Too long for that: nothing but hanging up is left.
  const cut = await fresh(false);
  cut.send(request(0, 0, 32 * MiB));
  expect((await cut.read(16)).readUInt32BE(4)).toBe(0);
  await expect(cut.read(32 * MiB)).rejects.toThrow(/connection ended/);
  // One chunk that must be completed, then the error.
  const padded = await fresh(true);
  padded.send(request(0, 0, 32 * MiB, { flags: 4 }), request(0, 0, 512, { cookie: 2 }));
  const data = await padded.chunk();
  expect(data).toMatchObject({ flags: 0, type: 1 });
  expect(data.payload.length).toBe(8 + 32 * MiB);
  expect(await padded.chunk()).toMatchObject({ flags: 1, type: 0x8001, cookie: 1 });
  expect(await padded.chunk()).toMatchObject({ flags: 1, type: 1, cookie: 2 });
  // Chunks as they come, the error as the last.
  const chunks = await fresh(true);
  chunks.send(request(0, 0, 32 * MiB));
  for (;;) {
    const chunk = await chunks.chunk();
    if (chunk.type === 1) expect(chunk.flags).toBe(0);
    else {
      expect(chunk).toMatchObject({ flags: 1, type: 0x8001 });
      break;
    }
  }
  expect(rig.server.stats().faultsTotal).toBe(1);
});

test('a long write that fails midway takes its payload and reports once', async () => {
  await start();
  rig.fault.setRules({ op: BlockOp.WRITE, range: { offset: 2 * MiB, length: 512 }, error: 'NO_SPACE' });
  const client = await open();
  expect(await client.simple(1, 0, 20 * MiB, pattern(0, 20 * MiB))).toBe(28);
  expect(await client.simple(1, 60 * MiB, 8 * MiB, pattern(0, 8 * MiB))).toBe(28);
  expect(await client.simple(0, 0, 512)).toBe(0);
});

test('requests beyond the bound wait in the socket and are all answered', async () => {
  await start({ server: { limits: { requestsMax: 16 } } });
  rig.fault.setRules({ op: BlockOp.READ, hold: true });
  const client = await open();
  for (let i = 0; i < 300; i++) client.send(request(0, i * 512, 512, { cookie: i }));
  await until(() => rig.fault.heldCount === 16);
  await systemClock.sleep(20);
  expect(rig.fault.heldCount).toBe(16);
  expect(rig.server.stats().exports.disk!.inFlight).toBe(16);
  rig.fault.setRules();
  rig.fault.release();
  const cookies = new Set<number>();
  for (let i = 0; i < 300; i++) cookies.add((await client.simpleReply(512)).cookie);
  expect(cookies.size).toBe(300);
});

test('a small pool and several slow readers: all come to their end', async () => {
  await start({ poolBytes: 4 * MiB });
  const slow = await Promise.all([open(), open(), open({ structured: true })]);
  for (const client of slow) {
    client.socket.pause();
    for (let i = 0; i < 6; i++) client.send(request(0, 0, 4 * MiB, { cookie: i }));
  }
  await systemClock.sleep(50);
  // Their output is stuck, and yet there is memory for who comes later.
  const quick = await open();
  for (let i = 0; i < 50; i++) expect(await quick.simple(1, i * 4096, 4096, pattern(i, 4096))).toBe(0);
  for (let i = 0; i < 50; i++) expect(await quick.simple(0, i * 4096, 4096)).toBe(0);
  for (const client of slow) {
    client.socket.resume();
    if (client === slow[2]) {
      for (let done = 0; done < 6; ) done += (await client.chunk()).flags;
    } else for (let i = 0; i < 6; i++) expect((await client.simpleReply(4 * MiB)).data.length).toBe(4 * MiB);
  }
});

test('pieces of long reads leave records for requests to come', async () => {
  await start({ server: { limits: { requestsMax: 16 } } });
  rig.fault.setRules({ op: BlockOp.READ, hold: true });
  const client = await open();
  client.send(request(0, 0, 16 * MiB, { cookie: 9 }));
  await until(() => rig.fault.heldCount > 1);
  expect(await client.simple(3, 0, 0)).toBe(0);
  rig.fault.setRules();
  rig.fault.release();
  expect(await client.simpleReply(16 * MiB)).toMatchObject({ errno: 0, cookie: 9 });
});

test('exports are opened once for all connections, and closed after the last and a while', async () => {
  const clock = new ManualClock();
  await start({ server: { lingerMs: 1000, clock } });
  const gone = (connections: number) => until(() => rig.server.stats().connections === connections);
  const first = await open();
  const second = await open();
  expect(rig.opened).toBe(1);
  expect(rig.server.stats().exports.disk).toMatchObject({ connections: 2, connectionsTotal: 2 });
  first.send(request(2, 0, 0));
  await first.closed;
  second.destroy();
  await gone(0);
  clock.pass(999);
  // Whoever comes back in time keeps it open, for as long as he stays.
  const third = await open();
  clock.pass(5000);
  const fourth = await open();
  expect(rig.opened).toBe(1);
  third.destroy();
  fourth.destroy();
  await gone(0);
  expect(rig.closedDevices).toBe(0);
  clock.pass(1000);
  await until(() => rig.closedDevices === 1);
  await open();
  expect(rig.opened).toBe(2);
});

test('a client that leaves while its export opens holds nothing', async () => {
  let go: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  await start({ beforeOpen: () => gate });
  const client = await connect();
  await client.greet();
  client.send(optionBytes(7, goData('disk')));
  await systemClock.sleep(10);
  client.destroy();
  go();
  await until(() => rig.closedDevices === 1);
});

test('drain answers what is in flight, ends the connections, and lets the next client in anew', async () => {
  await start();
  rig.fault.setRules({ op: BlockOp.WRITE, range: { offset: 0, length: 512 }, hold: true });
  const client = await open();
  client.send(request(1, 0, 512), pattern(0, 512));
  const half = await open();
  // Its pieces are done, the rest of its payload is not here.
  half.send(request(1, 4096, 2 * MiB), pattern(0, MiB));
  await until(() => rig.fault.heldCount === 1 && rig.server.stats().exports.disk!.inFlight === 2);
  await systemClock.sleep(20);
  const drained = rig.server.drain('disk');
  const late = open();
  await systemClock.sleep(20);
  expect(rig.opened).toBe(1);
  half.send(pattern(MiB, MiB));
  await systemClock.sleep(20);
  rig.fault.setRules();
  rig.fault.release();
  expect((await client.simpleReply()).errno).toBe(0);
  expect((await half.simpleReply()).errno).toBe(0);
  await client.closed;
  await half.closed;
  client.destroy();
  half.destroy();
  await drained;
  expect(rig.closedDevices).toBe(1);
  expect(await (await late).simple(0, 0, 512)).toBe(0);
  expect(rig.opened).toBe(2);
});

test('who comes when its size is found to be another one has it at once, behind those who are sent to come again', async () => {
  let resized = false;
  await start({
    onRefresh: async () => {
      if (resized) void rig.server.drain('disk');
      resized = false;
    },
  });
  const first = await open();
  expect(await first.simple(0, 0, 512)).toBe(0);
  resized = true;
  const second = open();
  await first.closed;
  first.destroy();
  const late = await second;
  expect(rig.opened).toBe(2);
  expect(await late.simple(0, 0, 512)).toBe(0);
});

test('counters of exports that come and go are not kept for ever, of those that are open they are', async () => {
  await start();
  const source = { list: async () => [], open: async () => new MemoryDevice(rig.io, { sizeBytes: 4096 }) };
  const exports = new Exports(source, { lingerMs: 0, openMax: 8, clock: systemClock, log: silentLogger });
  const kept = await exports.acquire('open');
  for (let i = 0; i < 1500; i++) {
    (await exports.acquire(`vm1@night-${i}`)).release();
    await exports.end(`vm1@night-${i}`);
  }
  const names = Object.keys(exports.allStats());
  expect(names.length).toBe(1024);
  expect(names).toContain('open');
  expect(names).toContain('vm1@night-1499');
  kept.release();
  await exports.close();
});

test('long lists are told to few at a time; others have theirs when those have taken it, or are gone', async () => {
  const moreNames = Array.from({ length: 20_000 }, (_, i) => `${'long-'.repeat(40)}${i}`);
  await start({ moreNames });
  const askers: RawNbd[] = [];
  for (let i = 0; i < 7; i++) {
    const client = await RawNbd.connect(rig.address);
    clients.push(client);
    await client.greet();
    client.socket.pause();
    client.send(optionBytes(LIST, Buffer.alloc(0)));
    askers.push(client);
  }
  await until(() => rig.listed === 4);
  await systemClock.sleep(50);
  expect(rig.listed).toBe(4);
  // It is gone before it has its turn, which a server that does not read from it may see only then.
  askers[4]!.destroy();
  askers[0]!.destroy();
  await until(() => rig.listed >= 5);
  const before = rig.listed;
  askers[1]!.socket.resume();
  await until(() => rig.listed > before);
});

test('close does not wait for ever for a client that takes no answers', async () => {
  await start({ server: { drainTimeoutMs: 50 } });
  const client = await open();
  client.socket.pause();
  for (let i = 0; i < 8; i++) client.send(request(0, 0, 8 * MiB));
  await systemClock.sleep(20);
  await rig.server.close();
  expect(rig.server.stats().connections).toBe(0);
});
