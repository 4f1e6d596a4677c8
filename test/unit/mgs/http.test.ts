import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry as Metrics } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../../../src/common/log.js';
import { GiB } from '../../../src/common/units.js';
import { StatusHttp } from '../../../src/mgs/http.js';
import { createMetrics } from '../../../src/mgs/metrics.js';
import { PAGE_POLICY, renderPage, summaryOf } from '../../../src/mgs/page.js';
import { Registry } from '../../../src/mgs/registry.js';
import type { ServerInfo } from '../../../src/protocol/index.js';
import { failure, ManualClock, testId } from '../mds/support.js';

let clock: ManualClock;
let registry: Registry;
let http: StatusHttp;
let base: string;

const view = () => ({
  clusterId: testId(0xc),
  version: '9.8.7',
  nowWallMs: clock.wallMs(),
  servers: registry.servers(),
});

beforeEach(async () => {
  clock = new ManualClock();
  registry = new Registry(clock);
  const metrics = createMetrics(registry, clock, '9.8.7');
  http = await StatusHttp.listen('tcp://127.0.0.1:0', { view, metrics, log: silentLogger });
  base = http.address.replace('tcp:', 'http:');
});
afterEach(() => http.close());

function server(id: string, changes: Partial<ServerInfo> = {}): ServerInfo {
  const addresses = [`tcp://10.0.0.1:7777`];
  return {
    role: 'ost',
    id,
    addresses,
    labels: { host: 'a' },
    capacityBytes: 10 * GiB,
    freeBytes: 4 * GiB,
    ...changes,
  };
}
const body = async (path: string) => (await fetch(base + path)).text();
const VOID = new Set(['meta', 'br', '!doctype']);

/** Every element is closed, in order. */
function checkNesting(html: string): void {
  const open: string[] = [];
  const bare = html.replace(/<(style|script)>.*?<\/\1>/gs, '');
  for (const [, end, name] of bare.matchAll(/<(\/?)([!a-z0-9]+)/g)) {
    if (VOID.has(name!)) continue;
    if (end === '') open.push(name!);
    else expect(open.pop()).toBe(name);
  }
  expect(open).toEqual([]);
}

describe('the page', () => {
  test('shows every server with health, addresses and space, and the cluster', async () => {
    registry.register(server('ost-late'));
    registry.register(server('ost-down', { labels: { host: 'b', rack: 'r7' } }));
    clock.advance(14_000);
    registry.register(server('ost-late', { freeBytes: 9 * GiB }));
    clock.advance(7_000);
    registry.register(server('mds-1', { role: 'mds', capacityBytes: 0, freeBytes: 0 }));
    const html = await body('/');
    checkNesting(html);
    expect(html).toContain('<title>1 down, 1 late – Rawstor</title>');
    expect(html).toContain(testId(0xc));
    for (const id of ['ost-late', 'ost-down', 'mds-1']) expect(html).toContain(`<code>${id}</code>`);
    for (const health of ['up', 'late', 'down']) expect(html).toMatch(new RegExp(`class="health ${health}"`));
    expect(html).toContain('rack=r7');
    expect(html).toContain('</meter> 10 %</td><td>9 GiB of 10 GiB</td>');
    expect(html).toContain('</meter> 60 %</td><td>4 GiB of 10 GiB</td>');
    expect(html).toContain('7 s ago');
    expect(html).toMatch(/Capacity<\/dt><dd>20 GiB/);
    expect(html).toMatch(/Used<\/dt><dd>7 GiB/);
    expect(html).toContain('Metadata servers');
    expect(html).not.toContain('NBD gateways');
  });

  test('says so when nobody is there', async () => {
    const html = renderPage({ ...view(), clusterId: '' });
    checkNesting(html);
    expect(html).toContain('no server has registered');
    expect(html).toContain('no metadata server has registered');
  });

  test('escapes what servers say of themselves', async () => {
    const evil = `<script>alert("1")</script>'&`;
    registry.register(server(evil.slice(0, 60), { labels: { host: evil, [evil.slice(0, 60)]: evil } }));
    const html = await body('/');
    checkNesting(html);
    expect(html.match(/<script>/g)).toHaveLength(1);
    expect(html).not.toContain(evil);
    expect(html).toContain('&#60;script&#62;');
  });

  test('needs nothing from elsewhere, and its own style and script are the only ones allowed', async () => {
    const answer = await fetch(`${base}/`);
    const html = await answer.text();
    expect(html).not.toMatch(/(src|href)="(https?:)?\/\//);
    expect(answer.headers.get('content-security-policy')).toBe(PAGE_POLICY);
    for (const tag of ['style', 'script']) {
      const text = new RegExp(`<${tag}>(.*?)</${tag}>`, 's').exec(html)![1]!;
      const hash = createHash('sha256').update(text).digest('base64');
      expect(PAGE_POLICY).toContain(`${tag}-src 'sha256-${hash}'`);
    }
  });

  test('can be used without seeing it: language, headers of rows and columns, names of meters', async () => {
    registry.register(server('x'));
    const html = await body('/');
    expect(html).toContain('<html lang="en">');
    expect(html).toContain('<th scope="col">Health</th>');
    expect(html).toContain('<th scope="row"><code>x</code></th>');
    expect(html).toContain('aria-label="Space used of x"');
    expect(html).toMatch(/<caption>1 known, 1 up<\/caption>/);
  });
});

test.each([
  [[], 'no server has registered'],
  [['up', 'up'], 'all servers up'],
  [['up', 'late'], '1 late'],
  [['down', 'down', 'late'], '2 down, 1 late'],
] as const)('%j in short: %s', (healths, expected) => {
  const servers = healths.map((health, i) => ({ ...server(`s${i}`), health, lastSeenWallMs: 0 }));
  expect(summaryOf(servers)).toBe(expected);
});

test('status.json is the same for programs', async () => {
  registry.register(server('x'));
  const answer = await fetch(`${base}/status.json?now`);
  expect(answer.headers.get('content-type')).toMatch('application/json');
  expect(await answer.json()).toEqual(view());
});

describe('metrics', () => {
  test('have the servers by role and health, their space, and the build', async () => {
    registry.register(server('x'));
    registry.register(server('m', { role: 'mds', labels: { host: 'b' } }));
    clock.advance(6_000);
    registry.register(server('m', { role: 'mds', labels: { host: 'b' } }));
    const text = await body('/metrics');
    const lines = text.split('\n');
    expect(lines).toContain('rawstor_mgs_servers{role="ost",health="late"} 1');
    expect(lines).toContain('rawstor_mgs_servers{role="ost",health="up"} 0');
    expect(lines).toContain('rawstor_mgs_servers{role="mds",health="up"} 1');
    expect(lines).toContain(`rawstor_mgs_server_free_bytes{role="ost",id="x",host="a"} ${4 * GiB}`);
    expect(lines).toContain('rawstor_mgs_server_up{role="ost",id="x",host="a"} 0');
    expect(lines).toContain('rawstor_mgs_server_silence_seconds{role="ost",id="x",host="a"} 6');
    expect(text).toMatch(/rawstor_build_info\{role="mgs",version="9.8.7",node="v\d+[^}]*\} 1/);
    expect(text).not.toMatch(/server_capacity_bytes\{role="mds"/);
    const counts = { openFiles: 3, inFlight: 0, readBytes: 5, writtenBytes: 77, errors: 1, interrupted: 0 };
    registry.register(
      server('m', { role: 'mount', addresses: [], mount: { directory: '/m<nt', ...counts } }),
    );
    expect(await body('/metrics')).toContain(
      'rawstor_mgs_mount_written_bytes_total{role="mount",id="m",host=',
    );
  });

  test('forget servers that are forgotten', async () => {
    registry.register(server('g', { role: 'nbd' }));
    expect(await body('/metrics')).toContain('id="g"');
    clock.advance(3_700_000);
    expect(await body('/metrics')).not.toContain('id="g"');
  });
});

describe('http', () => {
  test('is read-only', async () => {
    for (const method of ['POST', 'PUT', 'DELETE']) {
      const answer = await fetch(`${base}/`, { method });
      expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    }
    const head = await fetch(`${base}/`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
    expect(Number(head.headers.get('content-length'))).toBeGreaterThan(1000);
  });

  test('knows its four pages', async () => {
    expect(await body('/healthz')).toBe('ok\n');
    for (const path of ['/x', '//', '/status.json/', '/%00', '/..%2f']) {
      expect((await fetch(base + path)).status).toBe(404);
    }
  });

  test('an address in use is named', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const address = `tcp://127.0.0.1:${(other.address() as { port: number }).port}`;
    const options = { view, metrics: new Metrics(), log: silentLogger };
    expect((await failure('BUSY', StatusHttp.listen(address, options))).where).toBe(address);
    other.close();
  });

  test('listens on a Unix socket too', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'rawstor-http-'));
    const address = `unix:${join(directory, 'status.sock')}`;
    const local = await StatusHttp.listen(address, { view, metrics: new Metrics(), log: silentLogger });
    expect(local.address).toBe(address);
    await local.close();
    await rm(directory, { recursive: true });
  });
});

test('who asks for pages and reads none is dropped', async () => {
  const impatient = await StatusHttp.listen('tcp://127.0.0.1:0', {
    view,
    metrics: createMetrics(registry, clock, '9.8.7'),
    log: silentLogger,
    stillMs: 500,
  });
  const { hostname, port } = new URL(impatient.address.replace('tcp:', 'http:'));
  const socket = connect(Number(port), hostname).pause();
  let hungUp = false;
  socket.on('error', () => {
    hungUp = true;
  });
  const asked = Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(5000));
  // Writing fails at last: reading would take the pages.
  for (let i = 0; i < 100 && !hungUp; i++) {
    socket.write(asked);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(hungUp).toBe(true);
  socket.destroy();
  await impatient.close();
});

test('a Unix socket that a killed process has left is listened on again; one in use, and another file, are not', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'rawstor-page-'));
  const path = join(dir, 'page.sock');
  const options = { view, metrics: createMetrics(registry, clock, '9.8.7'), log: silentLogger };
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
  expect(existsSync(path)).toBe(true);
  const again = await StatusHttp.listen(`unix:${path}`, options);
  await expect(StatusHttp.listen(`unix:${path}`, options)).rejects.toMatchObject({ code: 'BUSY' });
  await again.close();
  await writeFile(path, 'kept');
  await expect(StatusHttp.listen(`unix:${path}`, options)).rejects.toMatchObject({ code: 'EXISTS' });
  await rm(dir, { recursive: true });
});
