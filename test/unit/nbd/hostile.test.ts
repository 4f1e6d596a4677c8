import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { KiB, MiB } from '../../../src/common/units.js';
import { goData, optionBytes, RawNbd, request, string32, u16, u32 } from '../../fixtures/nbd-client.js';
import { Rig } from './rig.js';

/** Clients that lie, stall and vanish, while an honest one must not notice. */
let rig: Rig;
let honest: Promise<number>;
let stop = false;

beforeAll(async () => {
  rig = await Rig.start({ server: { handshakeTimeoutMs: 300, connectionsMax: 40 } });
  honest = work();
});
afterAll(async () => {
  stop = true;
  expect(await honest).toBeGreaterThan(10);
  await rig.stop();
});

/** Writes, reads back and compares all the time; answers how often. */
async function work(): Promise<number> {
  const client = await RawNbd.open(rig.address, { structured: true });
  let rounds = 0;
  for (; !stop; rounds++) {
    const data = Buffer.alloc(64 * KiB, rounds % 251);
    client.send(request(1, 32 * MiB, data.length), data);
    expect((await client.simpleReply()).errno).toBe(0);
    client.send(request(0, 32 * MiB, data.length));
    expect((await client.chunk()).payload.subarray(8).equals(data)).toBe(true);
    await systemClock.sleep(1);
  }
  client.destroy();
  return rounds;
}

async function dropped(client: RawNbd): Promise<void> {
  await client.closed;
  client.destroy();
}

async function greeted(): Promise<RawNbd> {
  const client = await RawNbd.connect(rig.address);
  await client.greet();
  return client;
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (condition()) return;
    await systemClock.sleep(5);
  }
  throw new Error('waited in vain');
}

test('unknown client flags', async () => {
  const client = await RawNbd.connect(rig.address);
  await client.read(18);
  client.send(u32(0x80000003));
  await dropped(client);
});

test('garbage instead of options, and instead of requests', async () => {
  const options = await greeted();
  options.send(Buffer.alloc(4096, 0xa5));
  await dropped(options);
  const requests = await RawNbd.open(rig.address);
  requests.send(request(0, 0, 512, { magic: 0x12345678 }));
  await dropped(requests);
});

test('any bytes after the greeting', async () => {
  const part = fc.oneof(
    fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
    fc
      .tuple(fc.integer({ min: 0, max: 12 }), fc.uint8Array({ maxLength: 64 }))
      .map(([option, bytes]) => optionBytes(option, Buffer.from(bytes))),
    fc.constant(optionBytes(8, Buffer.alloc(0))),
    fc.constant(optionBytes(7, goData('disk'))),
    fc
      .tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 70 }), fc.integer({ min: 0, max: 4 }))
      .map(([command, block, blocks]) => request(command, block * MiB, blocks * 512, { flags: blocks })),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 8 }), fc.boolean(), async (parts, ends) => {
      const client = await RawNbd.connect(rig.address);
      client.send(u32(3), ...parts);
      if (ends) client.socket.end();
      await systemClock.sleep(2);
      client.destroy();
    }),
    { numRuns: 150 },
  );
  await until(() => rig.server.stats().connections <= 1);
});

test('an option cut short by the end of the connection', async () => {
  const data = goData('disk', 1, 2, 3);
  for (let cut = 1; cut < 16 + data.length; cut += 3) {
    const client = await greeted();
    client.send(optionBytes(7, data).subarray(0, cut));
    client.socket.end();
    await dropped(client);
  }
});

test('options with lengths beyond reason', async () => {
  const absurd = await greeted();
  absurd.send(optionBytes(10, Buffer.alloc(100), 0xffffffff));
  await dropped(absurd);
  const long = await greeted();
  long.send(optionBytes(8, Buffer.alloc(0)));
  expect((await long.optionReplies())[0]!.type).toBe(1);
  long.send(optionBytes(10, Buffer.alloc(3 * MiB)));
  expect((await long.optionReplies())[0]!.type).toBe(0x80000009);
  // Its place in the stream is not lost.
  expect((await long.option(7, goData('disk'))).at(-1)!.type).toBe(1);
  expect(await long.simple(4, 0, 512)).toBe(0);
  long.destroy();
});

test('meta context queries beyond reason', async () => {
  const client = await greeted();
  await client.option(8);
  const name = string32('disk');
  const many = Buffer.concat([name, u32(5000), ...new Array(5000).fill(string32('a:b'))]);
  expect((await client.option(10, many))[0]!.type).toBe(0x80000009);
  const lying = Buffer.concat([name, u32(0xffffffff), string32('base:allocation')]);
  expect((await client.option(10, lying))[0]!.type).toBe(0x80000003);
  const binary = Buffer.concat([name, u32(1), u32(4), Buffer.from([0x62, 0x3a, 0xff, 0xfe])]);
  expect((await client.option(9, binary))[0]!.type).toBe(0x80000003);
  client.destroy();
});

test('silence in the handshake ends it, at whatever point', async () => {
  const mute = await RawNbd.connect(rig.address);
  const stalled = await greeted();
  stalled.send(optionBytes(7, goData('disk')).subarray(0, 18));
  const trickling = await greeted();
  const timer = setInterval(() => trickling.send(Buffer.from('I')), 50);
  await Promise.all([dropped(mute), dropped(stalled), dropped(trickling)]);
  clearInterval(timer);
});

test('haggling on and on, each option in time, has an end', async () => {
  const client = await greeted();
  const timer = setInterval(() => client.send(optionBytes(99, Buffer.alloc(0))), 150);
  const began = performance.now();
  await dropped(client);
  clearInterval(timer);
  expect(performance.now() - began).toBeGreaterThan(1000);
});

test('a flood of options without reading the answers', async () => {
  const client = await greeted();
  client.socket.pause();
  const flood = Buffer.concat(new Array(1000).fill(optionBytes(99, Buffer.alloc(0))));
  for (let i = 0; i < 50; i++) client.send(flood);
  const ended = until(() => rig.server.stats().connections <= 1);
  await ended;
  client.destroy();
});

test('a flood of requests that all fail, without reading the answers', async () => {
  const client = await RawNbd.open(rig.address, { structured: true });
  client.socket.pause();
  const flood = Buffer.concat(new Array(1000).fill(request(99, 0, 0)));
  for (let i = 0; i < 400; i++) client.send(flood);
  // Until the server takes no more.
  const taken = () => rig.server.stats().exports.disk!.unknown.requests;
  for (let before = -1; before !== taken(); ) {
    before = taken();
    await systemClock.sleep(200);
  }
  // What cannot be sent stays with the client: the kernel's socket buffers and the bound, not all of it.
  expect(client.socket.writableLength).toBeGreaterThan(MiB);
  client.destroy();
});

test('writes past the end and far too long', async () => {
  const client = await RawNbd.open(rig.address);
  expect(await client.simple(1, 64 * MiB - 512, 1024, Buffer.alloc(1024))).toBe(28);
  client.send(request(1, 2 ** 62, 512), Buffer.alloc(512));
  expect((await client.simpleReply()).errno).toBe(28);
  expect(await client.simple(0, 0, 512)).toBe(0);
  client.send(request(1, 0, 64 * MiB + 512));
  await dropped(client);
});

test('disconnects in the middle of a payload, short and long', async () => {
  for (const [length, sent] of [
    [4096, 100],
    [512, 511],
    [8 * MiB, 3 * MiB + 17],
    [8 * MiB, 0],
    [1 * MiB, 256 * KiB],
  ] as const) {
    for (const gentle of [true, false]) {
      const client = await RawNbd.open(rig.address);
      client.send(request(0, 0, 4096), request(1, 0, length), Buffer.alloc(sent, 0xee));
      await systemClock.sleep(5);
      if (gentle) {
        client.socket.end();
        await dropped(client);
      } else client.destroy();
    }
  }
  await until(() => rig.server.stats().connections <= 1);
  expect(rig.server.stats().exports.disk!.inFlight).toBeLessThanOrEqual(1);
});

test('leaves with all of its reads unanswered', async () => {
  for (let i = 0; i < 10; i++) {
    const client = await RawNbd.open(rig.address, { structured: i % 2 === 0 });
    for (let k = 0; k < 40; k++) client.send(request(0, 0, 4 * MiB, { flags: i % 4 === 2 ? 4 : 0 }));
    await systemClock.sleep(3 * i);
    client.destroy();
  }
  await until(() => rig.server.stats().connections <= 1);
});

test('more connections than allowed', async () => {
  const clients = await Promise.all(Array.from({ length: 39 }, () => RawNbd.connect(rig.address)));
  await until(() => rig.server.stats().connections === 40);
  const before = rig.server.stats().refusedTotal;
  const extra = await RawNbd.connect(rig.address);
  await dropped(extra);
  expect(rig.server.stats().refusedTotal).toBe(before + 1);
  for (const client of clients) client.destroy();
  await until(() => rig.server.stats().connections <= 1);
  const again = await RawNbd.open(rig.address);
  expect(await again.simple(0, 0, 512)).toBe(0);
  again.destroy();
});

test('requests after a disconnect are not looked at', async () => {
  const client = await RawNbd.open(rig.address);
  const before = rig.server.stats().exports.disk!.unknown.requests;
  client.send(request(2, 0, 0), request(98, 0, 0), u16(1));
  await dropped(client);
  expect(rig.server.stats().exports.disk!.unknown.requests).toBe(before);
});
