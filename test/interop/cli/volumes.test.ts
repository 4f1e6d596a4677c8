import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ok } from './outcome.js';
import { begin, type Outcome, programArgs, run, UpCluster, until } from './programs.js';

const MiB = 1024 * 1024;
let cluster: UpCluster;
const path = (name: string) => join(cluster.cwd, name);

beforeAll(async () => {
  cluster = await UpCluster.start(['--volume', 'vm1:64M', '--volume', 'one:64M:1']);
  writeImage(path('disk.raw'), 24 * MiB + 512);
}, 120_000);

afterAll(async () => {
  await cluster?.remove();
});

/** Data at the start, in the middle and at the end, holes between. */
function writeImage(file: string, sizeBytes: number): void {
  const fd = openSync(file, 'w');
  for (const at of [0, 5 * MiB + 4096, sizeBytes - 8192]) {
    writeSync(fd, Buffer.from(Array.from({ length: 8192 }, (_, i) => (i * 7 + at) & 0xff)), 0, 8192, at);
  }
  closeSync(fd);
}

/** An import that has begun to write. */
async function importHalf(image: string, name: string) {
  const importing = begin('cli/rawstor-volume', ['import', image, name], { cwd: cluster.cwd });
  await until(async () => {
    const partial = `${name}.rawstor-partial`;
    const [row] = JSON.parse((await cluster.volume('du', partial, '--output', 'json')).stdout || '[]');
    return row?.allocatedBytes > 0 || importing.exitCode !== null;
  });
  // Within an object: of itself it would be awaited here.
  return { importing };
}

const json = (outcome: Outcome) => JSON.parse(ok(outcome));

describe('volumes of a running cluster', () => {
  it('creates, lists, shows, maps and removes', async () => {
    const made = json(
      await cluster.volume('create', 'a', '--size', '3G', '--replicas', '3', '--output', 'json'),
    );
    expect(made).toMatchObject({ name: 'a', sizeBytes: 3 * 1024 * MiB, replicas: 3 });
    const listed = ok(await cluster.volume('ls', '--output', 'jsonl'))
      .trim()
      .split('\n');
    expect(listed.map((line) => JSON.parse(line).name)).toEqual(['a', 'one', 'vm1']);
    expect(ok(await cluster.volume('ls'))).toMatch(
      /^NAME +SIZE +REPLICAS +HEALTH +SNAPSHOTS +CLONE OF +IN USE BY\na +3 GiB +3 +ok$/m,
    );
    const info = json(await cluster.volume('info', 'a', '--output', 'json'));
    expect(info.members).toHaveLength(3);
    expect(info.health).toBe('ok');
    const text = ok(await cluster.volume('info', 'a'));
    expect(text).toMatch(/^size +3 GiB \(3221225472 bytes\)$/m);
    expect(text.match(/up-[123] +in sync$/gm)).toHaveLength(3);
    const chunks = json(await cluster.volume('map', 'a', '--output', 'json'));
    expect(chunks).toHaveLength(3);
    expect(new Set(chunks[2].ostIds).size).toBe(3);
    ok(await cluster.volume('rm', 'a', '--force'));
    expect((await cluster.volume('info', 'a')).code).toBe(66);
  });

  it('writes all of a long result to a reader that takes its time', async () => {
    ok(await cluster.volume('create', 'many', '--size', '4000M', '--chunk-size', '1M'));
    const map = shellCommand('cli/rawstor-volume', ['map', 'many', '--count', '4000', '--output', 'json']);
    const slowly = ['-c', '"$@" | { sleep 1; cat; }', 'sh', ...map];
    const { stdout } = await execa('sh', slowly, { cwd: cluster.cwd });
    expect(JSON.parse(stdout)).toHaveLength(4000);
    ok(await cluster.volume('rm', 'many', '--force'));
  });

  it('imports a raw image and gives it back, holes and all', async () => {
    ok(await cluster.volume('import', 'disk.raw', 'raw1'));
    const used = json(await cluster.volume('du', 'raw1', '--output', 'json'))[0];
    expect(used.allocatedBytes).toBeGreaterThanOrEqual(2 * 3 * 8192);
    expect(used.allocatedBytes).toBeLessThan(2 * MiB);
    ok(await cluster.volume('export', 'raw1', 'back.raw'));
    expect(readFileSync(path('back.raw')).equals(readFileSync(path('disk.raw')))).toBe(true);
    expect(statSync(path('back.raw')).blocks * 512).toBeLessThan(MiB);
    expect(statSync(path('back.raw')).mode & 0o777).toBe(0o666 & ~process.umask());
    expect((await cluster.volume('export', 'raw1', 'back.raw')).code).toBe(73);
    ok(await cluster.volume('export', 'raw1', 'back.raw', '--force'));
    const piped = await execa(
      'sh',
      ['-c', `"$@" > piped.raw`, 'sh', ...shellCommand('cli/rawstor-volume', ['export', 'raw1', '-'])],
      { cwd: cluster.cwd },
    );
    expect(piped.exitCode).toBe(0);
    expect(readFileSync(path('piped.raw')).equals(readFileSync(path('disk.raw')))).toBe(true);
  });

  it('writes over an existing volume, zeros included', async () => {
    ok(await cluster.volume('bench', 'vm1', '--rw', 'write', '--duration', '200ms', '--force'));
    const unasked = await cluster.volume('import', 'disk.raw', 'vm1');
    expect(unasked.code).toBe(64);
    expect(unasked.stderr).toContain('--force');
    ok(await cluster.volume('import', 'disk.raw', 'vm1', '--force'));
    ok(await cluster.volume('export', 'vm1', 'over.raw'));
    const [image, over] = [readFileSync(path('disk.raw')), readFileSync(path('over.raw'))];
    expect(over.length).toBe(64 * MiB);
    expect(over.subarray(0, image.length).equals(image)).toBe(true);
    // Of what was there before nothing is left behind the image either.
    expect(over.subarray(image.length).every((byte) => byte === 0)).toBe(true);
  });

  it('imports a raw image that ends within a sector, filled up with zeros', async () => {
    const image = Buffer.alloc(3 * MiB + 1, 0x5a);
    writeFileSync(path('odd.raw'), image);
    ok(await cluster.volume('import', 'odd.raw', 'odd'));
    // Over what is there, the end of it included.
    ok(await cluster.volume('bench', 'odd', '--rw', 'write', '--duration', '200ms', '--force'));
    ok(await cluster.volume('import', 'odd.raw', 'odd', '--force'));
    ok(await cluster.volume('export', 'odd', 'odd-back.raw'));
    const back = readFileSync(path('odd-back.raw'));
    expect(back.equals(Buffer.concat([image, Buffer.alloc(511)]))).toBe(true);
    ok(await cluster.volume('rm', 'odd', '--force'));
  });

  it('an export that cannot be written says so and gives the volume back', async () => {
    const full = ['-c', '"$@" > /dev/full', 'sh'];
    const image = shellCommand('cli/rawstor-volume', ['export', 'raw1', '-']);
    const failed = await execa('sh', [...full, ...image], { cwd: cluster.cwd, reject: false });
    expect(failed.exitCode).toBe(73);
    expect(failed.stderr).toMatch(/^rawstor-volume: cannot write: no space left/m);
    const ends = ['-c', '{ "$@"; echo $? > ended; } | head -c 100 > /dev/null', 'sh'];
    const cut = await execa('sh', [...ends, ...image], { cwd: cluster.cwd, reject: false });
    expect(cut.stderr).toMatch(/whoever reads the output has ended/);
    expect(readFileSync(path('ended'), 'utf8')).toBe('75\n');
    // Free for others at once.
    ok(await cluster.volume('export', 'raw1', 'after.raw'));
    const listed = shellCommand('cli/rawstor-volume', ['ls']);
    const list = await execa('sh', [...full, ...listed], { cwd: cluster.cwd, reject: false });
    expect(list.exitCode).toBe(73);
    expect(list.stderr).toMatch(/no space left on device \(stdout\)/);
    expect((await cluster.volume('export', 'raw1', 'x', '--format', 'none')).code).toBe(64);
  });

  it('imports and exports qcow2 by way of qemu-img', async () => {
    await execa('qemu-img', ['convert', '-O', 'qcow2', path('disk.raw'), path('disk.qcow2')]);
    ok(await cluster.volume('import', 'disk.qcow2', 'q1'));
    ok(await cluster.volume('export', 'q1', 'back.qcow2', '--format', 'qcow2'));
    const compared = await execa('qemu-img', ['compare', path('disk.raw'), path('back.qcow2')]);
    expect(compared.stdout).toContain('Images are identical');
  });

  it('leaves no volume behind when an import fails or is interrupted', async () => {
    // A qcow2 header with nothing behind it: the size is known, the data is not there.
    const image = readFileSync(path('disk.raw'));
    writeFileSync(path('large.raw'), Buffer.concat([image, image, image, image]));
    await execa('qemu-img', ['convert', '-O', 'qcow2', path('large.raw'), path('broken.qcow2')]);
    const whole = readFileSync(path('broken.qcow2'));
    // The first table of the image, wherever the header says it is, points past every end.
    whole.fill(0x7f, Number(whole.readBigUInt64BE(40)), Number(whole.readBigUInt64BE(40)) + 8);
    writeFileSync(path('broken.qcow2'), whole);
    const failed = await cluster.volume('import', 'broken.qcow2', 'half');
    expect(failed.code).toBe(65);
    expect(failed.stderr).toMatch(/broken\.qcow2/);
    expect((await cluster.volume('info', 'half')).code).toBe(66);
    writeFileSync(path('endless.raw'), Buffer.alloc(600 * MiB, 1));
    const { importing: cut } = await importHalf('endless.raw', 'cut');
    cut.kill('SIGINT');
    expect((await cut).exitCode).toBe(130);
    expect((await cluster.volume('info', 'cut')).code).toBe(66);
    expect((await cluster.volume('info', 'cut.rawstor-partial')).code).toBe(66);
  });

  it('an import that is killed has made no volume of that name, and the next one takes its place', async () => {
    writeFileSync(path('endless.raw'), Buffer.alloc(600 * MiB, 1));
    const { importing: killed } = await importHalf('endless.raw', 'again');
    killed.kill('SIGSTOP');
    const beside = await cluster.volume('import', 'disk.raw', 'again');
    killed.kill('SIGKILL');
    await killed;
    expect(beside.code).toBe(75);
    expect(beside.stderr).toMatch(/another import into 'again'/);
    expect((await cluster.volume('info', 'again')).code).toBe(66);
    await until(async () => (await cluster.volume('import', 'disk.raw', 'again')).code === 0);
    const made = json(await cluster.volume('info', 'again', '--output', 'json'));
    expect(made.sizeBytes).toBe(statSync(path('disk.raw')).size);
    expect(ok(await cluster.volume('ls'))).not.toContain('rawstor-partial');
    ok(await cluster.volume('rm', 'again', '--force'));
  });

  it('renames a volume that nobody uses', async () => {
    ok(await cluster.volume('create', 'old', '--size', '16M'));
    const { id } = json(await cluster.volume('info', 'old', '--output', 'json'));
    expect((await cluster.volume('rename', 'old', 'vm1')).code).toBe(73);
    expect(ok(await cluster.volume('rename', 'old', 'new'))).toContain('renamed old to new');
    expect((await cluster.volume('info', 'old')).code).toBe(66);
    expect(json(await cluster.volume('info', 'new', '--output', 'json')).id).toBe(id);
    ok(await cluster.volume('bench', 'new', '--rw', 'write', '--duration', '200ms', '--force'));
    ok(await cluster.volume('rm', 'new', '--force'));
  });

  it('measures a volume', async () => {
    const args = [
      'bench',
      'one',
      '--rw',
      'mix',
      '--duration',
      '300ms',
      '--depth',
      '4',
      '--output',
      'json',
      '--force',
    ];
    const result = json(await cluster.volume(...args));
    expect(result.results.map((row: { op: string }) => row.op)).toEqual(['read', 'write']);
    for (const row of result.results) {
      expect(row.operations).toBeGreaterThan(0);
      expect(row.p50Us).toBeLessThanOrEqual(row.maxUs);
    }
  });

  it('shows servers, space and health', async () => {
    const status = json(await cluster.rawstor('status', '--output', 'json'));
    expect(status.health).toBe('ok');
    const roles = status.servers.map((server: { role: string }) => server.role);
    expect(roles.sort()).toEqual(['mds', 'mgs', 'nbd', 'ost', 'ost', 'ost']);
    for (const { role, loopStallMaxMs } of status.servers) {
      if (role !== 'mgs') expect(loopStallMaxMs, role).toBeTypeOf('number');
    }
    const df = json(await cluster.rawstor('df', '--output', 'json'));
    expect(df).toHaveLength(4);
    expect(df[3].capacityBytes).toBe(df[0].capacityBytes + df[1].capacityBytes + df[2].capacityBytes);
    const osts = json(await cluster.rawstor('ost', 'ls', '--output', 'json'));
    expect(osts.map((ost: { labels: { host: string } }) => ost.labels.host).sort()).toEqual([
      'up-1',
      'up-2',
      'up-3',
    ]);
    const page = await fetch(cluster.facts.statusUrl);
    expect(page.status).toBe(200);
  });
});

describe('attach and detach', () => {
  it('prints how to use a volume, and it works', async () => {
    const uri = ok(await cluster.volume('attach', 'vm1')).trim();
    expect(uri).toBe(cluster.uriOf('vm1'));
    expect((await execa('nbdinfo', ['--size', uri])).stdout).toBe(String(64 * MiB));
    const line = ok(await cluster.volume('attach', 'vm1', '--print', 'qemu', '--accel', 'tcg')).trim();
    expect(line.split('\n')).toHaveLength(1);
    // QEMU opens the disk and goes before a guest runs; a wrong option would fail it.
    const machine = `echo quit | ${line} -display none -nodefaults -S -monitor stdio`;
    const qemu = await execa('sh', ['-c', machine], { reject: false });
    expect(qemu, String(qemu.stderr)).toMatchObject({ exitCode: 0 });
    const xml = ok(await cluster.volume('attach', 'vm1', '--print', 'libvirt'));
    expect(xml).toContain(`<host transport='unix' socket='${cluster.facts.dir}/nbd.sock'/>`);
  });

  it('runs a command with the address and gives its exit code', async () => {
    const write = 'qemu-io -f raw -c "write -P 9 0 64k" "$uri" >/dev/null && echo "$export"';
    expect(ok(await cluster.volume('attach', 'vm1', '--run', write)).trim()).toBe('vm1');
    expect((await cluster.volume('attach', 'vm1', '--run', 'exit 7')).code).toBe(7);
    const control = join(cluster.facts.dir, 'nbd-control.sock');
    const away = `mv '${control}' '${control}.away'; exit 7`;
    const kept = await cluster.volume('attach', 'vm1', '--run', away);
    renameSync(`${control}.away`, control);
    expect(kept).toMatchObject({ code: 7, stderr: expect.stringContaining('was not given back') });
    expect(json(await cluster.volume('info', 'vm1', '--output', 'json')).lease).toBeNull();
    const here = join(cluster.cwd, 'own.sock');
    const read = 'qemu-io -f raw -c "read -P 9 0 64k" "$uri"; echo "$socket"';
    const own = ok(await cluster.volume('attach', 'vm1', '--socket', here, '--run', read));
    expect(own).toContain(`read 65536/65536 bytes`);
    expect(own).toContain(here);
    expect(existsSync(here)).toBe(false);
  });

  it('serves from here until it is told to stop', async () => {
    const socket = join(cluster.cwd, 'fg.sock');
    const serving = begin('cli/rawstor-volume', ['attach', 'one', '--socket', socket], { cwd: cluster.cwd });
    await until(() => existsSync(socket));
    const uri = `nbd+unix:///one?socket=${socket}`;
    await execa('qemu-io', ['-f', 'raw', '-c', 'write -P 3 0 4k', uri]);
    // Two gateways never have a volume at a time.
    const other = await execa('qemu-io', ['-f', 'raw', '-c', 'read 0 4k', cluster.uriOf('one')], {
      reject: false,
    });
    expect(other.exitCode).not.toBe(0);
    expect(other.stderr).toContain("'one' is open for writing by rawstor-nbd");
    serving.kill('SIGTERM');
    expect((await serving).exitCode).toBe(0);
    expect(existsSync(socket)).toBe(false);
    expect(json(await cluster.volume('info', 'one', '--output', 'json')).clean).toBe(true);
  });

  it('refuses to detach from a client, unless forced', async () => {
    const client = execa('qemu-io', ['-f', 'raw', cluster.uriOf('vm1')], { reject: false, stdin: 'pipe' });
    const info = async () => json(await cluster.volume('info', 'vm1', '--output', 'json'));
    await until(async () => (await info()).lease !== null);
    // A command beside it takes nothing away from it.
    const beside = await cluster.volume('attach', 'vm1', '--run', 'true');
    expect(beside.stderr).toContain('still in use by others');
    expect(await cluster.volume('detach', 'vm1')).toMatchObject({ code: 75 });
    const busy = await cluster.volume('export', 'vm1', 'busy.raw');
    expect(busy.code).toBe(75);
    expect(busy.stderr).toContain('rawstor-volume detach');
    expect(existsSync(path('busy.raw'))).toBe(false);
    expect(ok(await cluster.volume('detach', 'vm1', '--force'))).toContain('1 client cut off');
    expect(ok(await cluster.volume('detach', 'vm1'))).toContain('was not open');
    expect((await info()).lease).toBeNull();
    client.stdin!.end();
    await client;
  });
});

describe('errors', () => {
  const cases: [name: string, args: string[], code: number, said: RegExp][] = [
    ['size that is none', ['create', 'x', '--size', '10Q'], 64, /--size.*\[USAGE\][\s\S]*10G/],
    ['size not in sectors', ['create', 'x', '--size', '1000'], 64, /1024/],
    ['size too large', ['create', 'x', '--size', '9000000T'], 64, /size/],
    ['no size', ['create', 'x'], 64, /--size[\s\S]*see 'rawstor-volume create --help'/],
    ['chunk size not a power of two', ['create', 'x', '--size', '1G', '--chunk-size', '3M'], 64, /chunk/],
    ['name that is none', ['create', 'a/b', '--size', '1G'], 64, /not a volume name/],
    ['name that exists', ['create', 'vm1', '--size', '1G'], 73, /exists.*\[EXISTS\]/],
    [
      'more hosts than there are',
      ['create', 'x', '--size', '1G', '--stripe-width', '4'],
      73,
      /UNSATISFIABLE/,
    ],
    ['near nobody', ['create', 'x', '--size', '1G', '--near', 'moon'], 73, /up-1/],
    ['replicas over the limit', ['create', 'x', '--size', '1G', '--replicas', '9'], 64, /1 to 3/],
    ['min over replicas', ['create', 'x', '--size', '1G', '--min-replicas', '3'], 64, /--min-replicas/],
    ['unknown volume', ['info', 'nope'], 66, /nope.*\[NOT_FOUND\]/],
    ['unknown volume to attach', ['attach', 'nope'], 66, /nope/],
    ['unknown verb', ['creat', 'x'], 64, /Did you mean create/],
    ['unknown option', ['create', 'x', '--size', '1G', '--replica', '2'], 64, /Did you mean --replicas/],
    ['too many arguments', ['info', 'vm1', 'vm2'], 64, /too many arguments/],
    ['no verb', [], 64, /Usage: rawstor-volume/],
    [
      'image that is not there',
      ['import', 'none.raw', 'x'],
      66,
      /cannot open: no such file.*none\.raw.*\n {2}check/,
    ],
    ['place that is not there', ['export', 'vm1', 'no/x.raw'], 73, /no directory.*\(no\)/],
    ['directory as an image', ['import', '.', 'x'], 64, /neither a file nor a disk/],
    [
      'other replicas than it has',
      ['import', 'disk.raw', 'vm1', '--replicas', '3', '--force'],
      73,
      /not with --replicas 3 \(vm1\)/,
    ],
    ['a map from beyond the end', ['map', 'vm1', '--from', '9'], 64, /one chunk.*--from 9/],
    ['writing over a volume unasked', ['bench', 'vm1', '--rw', 'write'], 64, /--force/],
    [
      'a name for imports under way',
      ['create', 'x.rawstor-partial', '--size', '1M'],
      64,
      /imports under way/,
    ],
    ['such a name for another', ['rename', 'vm1', 'x.rawstor-partial'], 64, /imports under way/],
    ['such a name to import to', ['import', 'disk.raw', 'x.rawstor-partial'], 64, /imports under way/],
    ['image too large', ['import', 'disk.raw', 'x', '--size', '1M'], 64, /does not fit/],
    ['qcow2 to a pipe', ['export', 'vm1', '-', '--format', 'qcow2'], 64, /pipe/],
    ['block size of the load', ['bench', 'vm1', '--block-size', '100'], 64, /--block-size/],
    ['location that is none', ['ls', '--location', 'somewhere'], 64, /is not a location/],
    ['location of nobody', ['ls', '--location', '127.0.0.1:1'], 69, /127\.0\.0\.1:1[\s\S]*rawstor up/],
    ['file that is not there', ['ls', '-c', 'no/such.toml'], 66, /no\/such\.toml/],
  ];
  it.each(cases)('%s', async (_name, args, code, said) => {
    const outcome = await cluster.volume(...args);
    expect(outcome.code, outcome.stderr).toBe(code);
    expect(outcome.stderr).toMatch(said);
    expect(outcome.stdout).toBe('');
  });

  it('tells a client of an unknown export what is wrong', async () => {
    const failed = await execa('qemu-img', ['info', cluster.uriOf('nope')], { reject: false });
    expect(failed.exitCode).not.toBe(0);
    expect(failed.stderr).toContain("no object 'nope'");
  });

  it('names file and line of a configuration that is cut off', async () => {
    const whole = readFileSync(cluster.facts.location, 'utf8');
    writeFileSync(path('cut.toml'), whole.slice(0, whole.indexOf('mds') + 12));
    const outcome = await run('cli/rawstor-volume', ['ls', '-c', 'cut.toml'], { cwd: cluster.cwd });
    expect(outcome.code).toBe(78);
    expect(outcome.stderr).toMatch(/cut\.toml:3/);
  });

  it('prefers --location to RAWSTOR_LOCATION to the directory', async () => {
    const env = { RAWSTOR_LOCATION: '127.0.0.1:1' };
    expect((await run('cli/rawstor-volume', ['ls'], { cwd: cluster.cwd, env })).code).toBe(69);
    for (const location of [
      cluster.facts.mds,
      cluster.facts.mgs,
      cluster.facts.location,
      cluster.facts.dir,
    ]) {
      const outcome = await run('cli/rawstor-volume', ['ls', '--location', location], { cwd: '/', env });
      expect(outcome, outcome.stderr).toMatchObject({ code: 0 });
    }
  });
});

function shellCommand(program: string, args: string[]): string[] {
  return [process.execPath, ...programArgs(program), ...args];
}
