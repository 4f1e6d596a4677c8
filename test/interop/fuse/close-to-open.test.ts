import { readFileSync } from 'node:fs';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CAN_MOUNT, Mounted } from './rig.js';

vi.setConfig({ testTimeout: 120_000 });

let mounted: Mounted;
let other: Mounted;

/** Programs are others than this one, and get the directories of both mounts as `a` and `b`. */
async function python(lines: string): Promise<string> {
  const head = `import os, sys, time, ctypes, struct, threading
a, b = '${mounted.dir}', '${other.dir}'
def append(path, text):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND); os.write(fd, text); os.fsync(fd); os.close(fd)
`;
  const { stdout, stderr, exitCode } = await execa('python3', ['-c', head + lines], { reject: false });
  expect(exitCode, stderr).toBe(0);
  return stdout;
}

describe.skipIf(!CAN_MOUNT)('what an open finds', () => {
  beforeAll(async () => {
    mounted = await Mounted.start(['--osts', '2', '--no-volume']);
    other = await Mounted.on(mounted.cluster, 'other');
  }, 120_000);
  afterAll(async () => {
    await other?.end();
    await mounted?.remove();
  });

  it('is what another machine has appended within the second before, by name and by /proc/self/fd', async () => {
    await mounted.sh('echo start > log; sync log');
    await python(`
for round in range(6):
    os.stat(a + '/log'); os.stat(b + '/log')
    append(b + '/log', b'b%d\\n' % round)
    append(a + '/log', b'a%d\\n' % round)
os.stat(a + '/log')
append(b + '/log', b'last')
fd = os.open(a + '/log', os.O_RDONLY)
print(os.lseek(fd, 0, os.SEEK_END))
os.stat(b + '/log'); path = os.open(b + '/log', os.O_PATH)
append(a + '/log', b'.'); print(os.fstat(fd).st_size, os.stat(b+'/log').st_size)
os.close(os.open('/proc/self/fd/%d' % path, os.O_RDONLY))
`);
    const lines = [0, 1, 2, 3, 4, 5].map((round) => `b${round}\na${round}\n`).join('');
    for (const one of [mounted, other])
      expect(readFileSync(one.path('log'), 'latin1'), one.dir).toBe(`start\n${lines}last.`);
  });

  it('is what many threads of both have appended at the same time', async () => {
    await mounted.sh('echo -n > shared; sync shared');
    await python(`
def many(m, who):
    for i in range(8):
        for again in range(200):
            try: append(m + '/shared', b'%s%d\\n' % (who, i)); break
            except OSError as e:
                if e.errno != 16: raise
threads = [threading.Thread(target=many, args=(m, who)) for m, who in ((a, b'a'), (a, b'A'), (b, b'b'), (b, b'B'))]
[t.start() for t in threads]; [t.join() for t in threads]
`);
    const lines = readFileSync(mounted.path('shared'), 'latin1').trim().split('\n');
    const wanted = ['a', 'A', 'b', 'B'].flatMap((who) => [0, 1, 2, 3, 4, 5, 6, 7].map((i) => `${who}${i}`));
    expect(lines.sort()).toEqual(wanted.sort());
  });

  it('is no size from the beginning of a list that is still read', async () => {
    const out = await python(`
os.chdir(a)
for i in range(60): open('f%03d' % i, 'w').write('old')
time.sleep(1.5)
libc = ctypes.CDLL(None)
d = os.open('.', os.O_RDONLY | os.O_DIRECTORY)
def names():
    buffer = ctypes.create_string_buffer(4096); n = libc.syscall(217, d, buffer, 4096); found = []; at = 0
    while at < n:
        _, _, length, _ = struct.unpack_from('QqHB', buffer, at)
        found.append(buffer.raw[at + 19:at + length].split(b'\\0')[0].decode()); at += length
    return found
seen = names()
for name in seen: os.stat(name)
os.stat('f045')
append('f045', b'X' * 1000)
os.stat('f050')
append(b + '/f050', b'Y' * 1000)
time.sleep(2.5)
# What is looked at is asked for with attributes.
while found := names():
    seen += found
    [os.stat(name) for name in found if name not in ('f045', 'f050')]
    if 'f045' in found: append('f045', b'more'); print(len(open('f045').read()))
    if 'f050' in found: append('f050', b'more'); print(len(open('f050').read()))
print(len([name for name in seen if name[0] == 'f']))
`);
    expect(out.split('\n').sort()).toEqual(['1007', '1007', '60']);
    await mounted.sh('rm f*');
  });

  it('is a file that somebody else has just made, unless it has to be new', async () => {
    const out = await python(`
def both(flags, i):
    done = []; barrier = threading.Barrier(2)
    def make(m):
        barrier.wait()
        try: os.close(os.open('%s/c%d' % (m, i), flags)); done.append('made')
        except FileExistsError: done.append('exists')
    threads = [threading.Thread(target=make, args=(m,)) for m in (a, b)]
    [t.start() for t in threads]; [t.join() for t in threads]
    return ' '.join(sorted(done))
for i in range(5): print(both(os.O_CREAT | os.O_RDONLY, i))
for i in range(5, 10): print(both(os.O_CREAT | os.O_EXCL | os.O_RDONLY, i))
`);
    expect(out.split('\n')).toEqual([...Array(5).fill('made made'), ...Array(5).fill('exists made')]);
    await mounted.sh('rm c*');
  });

  it('ends where it was made shorter meanwhile, for who reads it past the page cache', async () => {
    await python(`
import mmap
fd = os.open(b + '/short', os.O_RDWR | os.O_CREAT); os.write(fd, b'x' * (8 << 20)); os.fsync(fd); os.close(fd)
reader = os.open(a + '/short', os.O_RDONLY | os.O_DIRECT)
buffer = mmap.mmap(-1, 65536)
assert os.preadv(reader, [buffer], 6 << 20) == 65536
os.truncate(b + '/short', 1 << 20)
time.sleep(2.2)
assert os.preadv(reader, [buffer], 6 << 20) == 0
assert os.preadv(reader, [buffer], (1 << 20) - 4096) == 4096
`);
    await mounted.sh('rm short');
  });

  it('for reading keeps nobody else from writing, when it was written here for a moment too', async () => {
    await python(`
def put(path, byte):
    fd = os.open(path, os.O_WRONLY); os.write(fd, byte); os.close(fd)
open(a + '/image', 'w').write('x' * 5000)
reader = os.open(a + '/image', os.O_RDONLY); assert os.read(reader, 2) == b'xx'
put(a + '/image', b'1')
assert os.pread(reader, 2, 0) == b'1x'
put(b + '/image', b'2')
time.sleep(1.2)
os.posix_fadvise(reader, 0, 0, os.POSIX_FADV_DONTNEED)
assert os.pread(reader, 2, 0) == b'2x'
put(a + '/image', b'3')
assert os.pread(reader, 2, 0) == b'3x'
os.truncate(b + '/image', 100)
`);
    await mounted.sh('rm image');
  });

  it('for reading removes nothing that somebody else writes; what is removed has no link', async () => {
    await python(`
writer = os.open(b + '/busy', os.O_RDWR | os.O_CREAT); os.write(writer, b'x' * 9000); os.fsync(writer)
reader = os.open(a + '/busy', os.O_RDONLY)
try: os.unlink(a + '/busy'); sys.exit('removed')
except OSError as e: assert e.errno == 16
assert 'busy' in os.listdir(a)
os.close(reader); os.close(writer)
reader = os.open(a + '/busy', os.O_RDONLY)
os.unlink(a + '/busy')
assert os.fstat(reader).st_nlink == 0 and 'busy' not in os.listdir(a)
`);
    await mounted.sh(
      'for i in $(seq 50); do [ -e ../other/busy ] || break; sleep 0.2; done; [ ! -e ../other/busy ]',
    );
  });
});
