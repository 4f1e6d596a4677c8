import { beforeEach, describe, expect, test } from 'vitest';
import { GiB } from '../../../src/common/units.js';
import { Registry } from '../../../src/mgs/registry.js';
import { MGS_METHODS, type ServerInfo } from '../../../src/protocol/index.js';
import { ManualClock } from '../mds/support.js';

let clock: ManualClock;
let registry: Registry;
beforeEach(() => {
  clock = new ManualClock();
  registry = new Registry(clock);
});

function server(id: string, changes: Partial<ServerInfo> = {}): ServerInfo {
  const addresses = ['tcp://127.0.0.1:7000'];
  return { role: 'ost', id, addresses, labels: {}, capacityBytes: GiB, freeBytes: GiB, ...changes };
}
const health = () => Object.fromEntries(registry.servers().map((s) => [s.id, s.health]));

test('a server is up, then late after 6 s of silence, down after 20 s, and up again when heard', () => {
  registry.register(server('a'));
  const seen: string[] = [];
  for (const ms of [0, 5_999, 1, 13_999, 1, 1_000_000]) {
    clock.advance(ms);
    seen.push(health().a!);
  }
  expect(seen).toEqual(['up', 'up', 'late', 'late', 'down', 'down']);
  registry.register(server('a'));
  expect(health()).toEqual({ a: 'up' });
});

test('health does not depend on the wall clock', () => {
  registry.register(server('a'));
  clock.setWall(0);
  expect(health()).toEqual({ a: 'up' });
  clock.setWall(Date.UTC(2100, 0, 1));
  expect(health()).toEqual({ a: 'up' });
});

test('a server is known by role and id; the latest report counts', () => {
  registry.register(server('a', { freeBytes: 1 }));
  registry.register(server('a', { freeBytes: 2 }));
  registry.register(server('a', { role: 'mds' }));
  expect(registry.servers().map((s) => [s.role, s.freeBytes])).toEqual([
    ['mds', GiB],
    ['ost', 2],
  ]);
});

test('says when there is something to remember: not for free space', () => {
  expect(registry.register(server('a'))).toBe(true);
  expect(registry.register(server('a', { freeBytes: 5 }))).toBe(false);
  expect(registry.register(server('a', { labels: { host: 'h' } }))).toBe(true);
});

describe('after a restart', () => {
  test('known servers are late until heard, down if they are not, with the time they were last heard', () => {
    registry.register(server('a'));
    registry.register(server('b'));
    const seenWallMs = clock.wallMs();
    const remembered = registry.remembered();
    clock.advance(3_000);
    registry = new Registry(clock);
    registry.restore(remembered);
    expect(health()).toEqual({ a: 'late', b: 'late' });
    expect(registry.servers()[0]!.lastSeenWallMs).toBe(seenWallMs);
    registry.register(server('a'));
    clock.advance(14_000);
    expect(health()).toEqual({ a: 'late', b: 'down' });
  });
});

test('gateways that are gone for an hour are forgotten, servers with data never', () => {
  for (const role of ['ost', 'mds', 'nbd'] as const) registry.register(server(role, { role }));
  clock.advance(3_600_001);
  expect(Object.keys(health()).sort()).toEqual(['mds', 'ost']);
});

test('also over a restart', () => {
  for (const role of ['ost', 'nbd'] as const) registry.register(server(role, { role }));
  const remembered = registry.remembered();
  clock.advance(3_600_001);
  registry = new Registry(clock);
  registry.restore(remembered);
  expect(Object.keys(health())).toEqual(['ost']);
});

test('a gateway that was started again takes the place of the one at its address', () => {
  const gateway = (id: string, host: string, path: string) =>
    registry.register(server(id, { role: 'nbd', labels: { host }, addresses: [`unix:${path}`] }));
  gateway('a', 'h1', '/run/nbd.sock');
  gateway('b', 'h2', '/run/nbd.sock');
  gateway('c', 'h1', '/run/other.sock');
  registry.register(server('a', { addresses: ['unix:/run/nbd.sock'], labels: { host: 'h1' } }));
  gateway('d', 'h1', '/run/nbd.sock');
  expect(registry.servers().map((s) => [s.role, s.id])).toEqual([
    ['ost', 'a'],
    ['nbd', 'b'],
    ['nbd', 'c'],
    ['nbd', 'd'],
  ]);
});

test('an MDS that was rebuilt takes the place of the one at its address; an OST, and another MDS, stay', () => {
  const at = (role: 'mds' | 'ost', id: string, port: number) =>
    registry.register(server(id, { role, addresses: [`tcp://10.0.0.1:${port}`], labels: { host: 'h' } }));
  at('mds', 'old', 7771);
  at('mds', 'other', 7781);
  at('ost', 'a', 7777);
  at('ost', 'b', 7777);
  at('mds', 'new', 7771);
  expect(Object.keys(health()).sort()).toEqual(['a', 'b', 'new', 'other']);
});

test('the answer is as the protocol has it', () => {
  registry.register(server('a'));
  const answer = { clusterId: '', servers: registry.servers() };
  expect(MGS_METHODS['mgs.cluster'].result.parse(answer)).toEqual(answer);
});

test('a mount that is there again has the place of the one that was on its directory, and is forgotten like a gateway', () => {
  const mount = (id: string, directory: string, host = 'h') => {
    const counts = { openFiles: 1, inFlight: 0, readBytes: 2, writtenBytes: 3, errors: 0, interrupted: 0 };
    registry.register(
      server(id, { role: 'mount', addresses: [], labels: { host }, mount: { directory, ...counts } }),
    );
  };
  mount('a', '/mnt');
  mount('b', '/mnt');
  mount('c', '/mnt2');
  mount('d', '/mnt', 'other');
  expect(Object.keys(health())).toEqual(['b', 'c', 'd']);
  clock.advance(3_600_001);
  expect(health()).toEqual({});
});

test('an MDS that was rebuilt on another machine takes the place of the one that is silent', () => {
  const at = (id: string, host: string) =>
    registry.register(server(id, { role: 'mds', addresses: [`tcp://${host}:7771`], labels: { host } }));
  at('old', 'h1');
  clock.advance(5_000);
  at('beside', 'h2');
  expect(Object.keys(health()).sort()).toEqual(['beside', 'old']);
  clock.advance(1_000);
  at('new', 'h3');
  expect(Object.keys(health()).sort()).toEqual(['beside', 'new']);
});

test('who leaves is not looked for', () => {
  registry.register(server('a', { role: 'nbd' }));
  registry.register(server('a'));
  expect(registry.leave({ role: 'nbd', id: 'a' })).toBe(true);
  expect(registry.leave({ role: 'nbd', id: 'a' })).toBe(false);
  expect(registry.servers().map(({ role }) => role)).toEqual(['ost']);
});
