import { closeSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ok } from '../cli/outcome.js';
import { programArgs, until } from '../cli/programs.js';
import { CAN_MOUNT, Mounted } from './rig.js';

const MiB = 1024 * 1024;
let mounted: Mounted;
const info = async (name: string) =>
  JSON.parse(ok(await mounted.cluster.volume('info', name, '--output', 'json')));

describe.skipIf(!CAN_MOUNT)('volumes as files', () => {
  beforeAll(async () => {
    mounted = await Mounted.start(['--volume', 'vm1:64M']);
    const image = openSync(join(mounted.cluster.cwd, 'sparse.raw'), 'w');
    for (const at of [0, 5 * MiB + 4096, 40 * MiB - 777]) writeSync(image, Buffer.alloc(777, 7), 0, 777, at);
    closeSync(image);
  }, 120_000);
  afterAll(() => mounted?.remove());

  it('has the volumes, their sizes, and space', async () => {
    expect(await mounted.sh('ls')).toBe('vm1');
    expect(await mounted.sh("stat -c '%s %a %u' vm1")).toBe(`${64 * MiB} 600 0`);
    // While OSTs are slow to tell what it takes, that is what it is long.
    await until(() => statSync(mounted.path('vm1')).blocks === 0);
    expect(Number(await mounted.sh('df --output=size . | tail -1'))).toBeGreaterThan(0);
    // Of a directory that is long, page by page.
    ok(await mounted.cluster.volume('create', 'vm2', '--size', '1M'));
    expect(await mounted.sh('ls -U; rm vm2')).toBe('vm1\nvm2');
  });

  it('keeps what is copied, its exact size and its holes', async () => {
    await mounted.sh('cp --sparse=always ../sparse.raw a; cmp ../sparse.raw a');
    await until(async () => /^1[26]\sa$/.test(await mounted.sh('du -k a')));
    expect(statSync(mounted.path('a')).size).toBe(40 * MiB);
    await mounted.sh(
      'cp --sparse=auto a ../b.raw; cmp ../sparse.raw ../b.raw; test $(du -k ../b.raw | cut -f1) -lt 100',
    );
    await mounted.sh('head -c 1000001 /dev/urandom > ../odd; cp ../odd odd; cmp ../odd odd');
    expect(await info('odd')).toMatchObject({ sizeBytes: 1000448, file: { sizeBytes: 1000001 } });
    await mounted.sh('truncate -s 12345 odd; cmp -n 12345 ../odd odd; truncate -s 20000 odd');
    expect(await mounted.sh('tail -c +12346 odd | tr -d "\\0" | wc -c; stat -c %s odd')).toBe('0\n20000');
    expect(await mounted.sh('echo more >> odd; tail -c 5 odd; stat -c %s odd')).toBe('more\n20005');
    await mounted.sh('fallocate -p -o 0 -l 5000 odd; fallocate -z -o 10000 -l 2345 odd');
    expect(await mounted.sh('head -c 5000 odd | tr -d "\\0" | wc -c; cmp -n 5000 -i 5000 ../odd odd')).toBe(
      '0',
    );
    await mounted.sh('rm a odd');
  });

  it('writes directly, durably, mapped, and with locks', async () => {
    await mounted.sh('dd if=/dev/urandom of=../d bs=64k count=40 status=none');
    await mounted.sh(
      'dd if=../d of=d bs=64k oflag=direct status=none; dd if=d bs=1M iflag=direct status=none | cmp - ../d',
    );
    await mounted.sh(
      'dd if=../d of=d bs=4096 count=20 oflag=direct,dsync conv=notrunc status=none; cmp d ../d; sync d',
    );
    const python = `
import fcntl, mmap, os
f = open('m', 'w+b'); f.truncate(100000)
m = mmap.mmap(f.fileno(), 100000); m[5000:5010] = b'0123456789'; m.flush(); os.fsync(f.fileno())
assert os.pread(f.fileno(), 10, 5000) == b'0123456789'
fcntl.flock(f, fcntl.LOCK_EX)
g = open('m')
try: fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError: print('locked')
`;
    writeFileSync(join(mounted.cluster.cwd, 'm.py'), python);
    expect(await mounted.sh('python3 ../m.py')).toBe('locked');
    await mounted.sh('rm d m');
  });

  it('takes no space for what there can never be enough of', async () => {
    // As large already, or made so by it; sparse files may be.
    await mounted.sh('truncate -s 30T far; truncate -s 1M near');
    for (const name of ['far', 'near']) {
      expect(await mounted.fails(`timeout 30 fallocate -l 30T ${name}`)).toContain('No space left');
    }
    expect(await mounted.sh('stat -c %s near; fallocate -l 3M near; stat -c %s near')).toBe(
      `${MiB}\n${3 * MiB}`,
    );
    await mounted.sh('rm far near');
  });

  it('is renamed, removed when it is closed, owned and dated', async () => {
    expect(await mounted.sh('echo one > x; echo two > y; mv x y; ls; cat y')).toBe('vm1\ny\none');
    expect(await mounted.sh('exec 9<>z; echo data >&9; rm z; ls; exec 9>&-')).toBe('vm1\ny');
    expect(await mounted.fails('mv -n vm1 .snapshots/v; rm .snapshots/v')).toContain('Read-only');
    const looks =
      "touch -d '2001-02-03 04:05:06Z' y; chown 107:108 y; chmod 640 y; TZ=UTC stat -c '%u %g %a %y' y";
    expect(await mounted.sh(looks)).toMatch(/^107 108 640 2001-02-03 04:05:06/);
    expect(await mounted.fails("echo x > 'bad name'")).toContain('Invalid argument');
    expect(await mounted.fails('mkdir d')).toContain('not permitted');
    await mounted.sh('rm y; test $(ls | wc -l) = 1');
  });

  it('shows snapshots, which keep a volume from being removed', async () => {
    await mounted.sh('head -c 100001 /dev/urandom > s; cp s ../s');
    ok(await mounted.cluster.volume('snapshot', 's@one'));
    await mounted.sh('head -c 200000 /dev/zero > s');
    expect(
      await mounted.sh("cmp .snapshots/s@one ../s; stat -c '%s %a' .snapshots/s@one; ls .snapshots"),
    ).toBe('100001 400\ns@one');
    expect(await mounted.fails('rm s')).toContain('busy');
    expect(mounted.log).toMatch(/"volume":"s".*it has snapshots: one/);
    expect(await mounted.fails('echo x >> .snapshots/s@one')).toContain('Read-only');
    ok(await mounted.cluster.volume('clone', 's@one', 'c'));
    await mounted.sh('cmp c ../s; rm c');
    ok(await mounted.cluster.volume('snapshot', 'rollback', 's@one', '--no-safety', '-y'));
    await mounted.sh('sleep 1.1; cmp s ../s');
    ok(await mounted.cluster.volume('snapshot', 'rm', 's@one', '-y'));
    await mounted.sh('rm s');
  });

  it('does for qemu-img and qemu-io', async () => {
    await mounted.sh(
      'qemu-img convert -f raw -O raw ../sparse.raw q; qemu-img compare -f raw ../sparse.raw q',
    );
    const map = JSON.parse(await mounted.sh('qemu-img map --output=json -f raw q')) as { data: boolean }[];
    expect(map.filter((run) => run.data)).toHaveLength(3);
    await mounted.sh('qemu-img create -q -f qcow2 q2 300M');
    await mounted.sh("qemu-io -f qcow2 -n -t none -c 'write -P 7 1M 3M' -c 'read -P 7 1M 3M' -c flush q2");
    await mounted.sh(
      'qemu-img check -q q2; qemu-img resize -q q2 400M; qemu-img snapshot -c one q2; rm q q2',
    );
  });

  it('is written here, and read by another mount and by other ways meanwhile', async () => {
    const other = await Mounted.on(mounted.cluster, 'other', ['--busy', 'read-only', '--mode', '0644']);
    try {
      await mounted.sh('head -c 300001 /dev/urandom > w; cp w ../w');
      expect(await other.sh('cmp w ../w; stat -c %a w')).toBe('644');
      const writer = openSync(mounted.path('w'), 'r+');
      expect(await other.fails('echo x >> w')).toContain('Read-only');
      expect((await mounted.cluster.volume('rm', 'w', '-y')).code).toBe(75);
      writeSync(writer, 'fresh', 0);
      await other.sh('sleep 1.2; test "$(head -c 5 w)" = fresh');
      closeSync(writer);
      await other.sh('sleep 0.5; echo x >> w; test $(stat -c %s w) = 300003');
      const held = openSync(other.path('w'), 'r+');
      expect(await mounted.fails('echo x >> w')).toContain('busy');
      closeSync(held);
      await mounted.sh('rm w');
    } finally {
      expect(await other.end()).toBe(0);
    }
  });

  it('is unmounted by umount, and by a signal, with all volumes closed', async () => {
    writeFileSync(mounted.path('u'), 'kept');
    await mounted.cluster.rawstor('status');
    expect(await mounted.end()).toBe(0);
    expect(await info('u')).toMatchObject({ clean: true, lease: null, file: { sizeBytes: 4 } });
    await mounted.mount({}, '--thin', '--mode', '0604');
    expect(await mounted.sh("cat u; stat -c ' %a' u; fallocate -l 5M t; stat -c %s t")).toBe(
      `kept 604\n${5 * MiB}`,
    );
    await until(() => statSync(mounted.path('t')).blocks === 0);
    const background = await mounted.cluster.rawstor(
      'mount',
      `${mounted.cluster.cwd}/other`,
      '--output',
      'json',
    );
    const { pid } = JSON.parse(ok(background));
    expect(readFileSync(`${mounted.cluster.cwd}/other/u`, 'utf8')).toBe('kept');
    expect((await mounted.cluster.rawstor('mount', `${mounted.cluster.cwd}/other`)).code).toBe(75);
    await mounted.sh(
      `umount ../other; for i in $(seq 100); do kill -0 ${pid} || exit 0; sleep 0.1; done; exit 1`,
    );
  });

  it('is mounted by a user who is not root, with the help of fusermount3', async () => {
    const { cwd, facts } = mounted.cluster;
    const program = [process.execPath, ...programArgs('cli/rawstor')].join(' ');
    const user = 'setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp';
    const script = `
      mknod ${cwd}/fuse c 10 229; chmod 666 ${cwd}/fuse; mount --bind ${cwd}/fuse /dev/fuse
      chmod 755 ${cwd}; mkdir ${cwd}/user; chown 65534 ${cwd}/user; cd ${cwd}
      ${user} ${program} mount user --location ${facts.mds} --foreground 2> user.log & pid=$!
      trap 'kill $pid; wait $pid' EXIT
      for i in $(seq 100); do grep -q '"ready"' user.log && break; sleep 0.1; done
      ${user} bash -c "echo mine > user/mine; cat user/mine; stat -c %u user/mine; rm user/mine"
      ! ls user 2> /dev/null
      kill $pid; wait $pid; trap - EXIT; ! grep ' ${cwd}/user ' /proc/self/mountinfo`;
    writeFileSync(join(cwd, 'user.sh'), script);
    const { stdout } = await execa('unshare', ['-m', 'bash', '-e', join(cwd, 'user.sh')], {
      timeout: 60_000,
    });
    expect(stdout).toBe('mine\n65534');
  });

  it("works on Node's own files where io_uring is refused", async () => {
    await mounted.end();
    await mounted.mount({ RAWSTOR_IO: 'node' });
    await mounted.sh(
      'head -c 3000001 /dev/urandom > ../n; cp ../n n; cmp ../n n; dd if=n bs=1M iflag=direct status=none | cmp - ../n; rm n',
    );
    expect(await mounted.end()).toBe(0);
  });

  it('encrypts new files where that is wanted, and shows them to who has the key', async () => {
    await mounted.end();
    const key = join(mounted.cluster.cwd, 'key');
    writeFileSync(key, Buffer.alloc(40, 'a key of many bytes'));
    const refused = await mounted.cluster.rawstor('mount', mounted.dir, '--encrypt');
    expect(refused).toMatchObject({ code: 64 });
    expect(refused.stderr).toContain('--encrypt takes one file with a key');
    await mounted.mount({}, '--encrypt', '--key-file', key);
    // Of bytes that are no whole sectors, here and there.
    await mounted.sh('yes nobody-finds-this | head -c 100001 > ../e; cp ../e e; sync e; cmp ../e e');
    await mounted.sh(
      'printf changed | dd of=e bs=1 seek=1021 conv=notrunc status=none; head -c 1028 e | tail -c 7 | grep -q changed',
    );
    expect(await mounted.fails('grep -rlaF nobody-finds-this ../.rawstor')).toBe('');
    expect(await info('e')).toMatchObject({
      encryption: { kdf: { name: 'hkdf-sha256' } },
      file: { sizeBytes: 100001 },
    });
    expect(await mounted.end()).toBe(0);
    await mounted.mount();
    expect(await mounted.fails('head -c 1 e')).toContain('Permission denied');
    await mounted.sh('rm e');
    expect(await mounted.end()).toBe(0);
  });
});
