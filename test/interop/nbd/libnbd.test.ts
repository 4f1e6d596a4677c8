import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { python, Served } from './served.js';

const HAS_BINDING = existsSync('/usr/lib/python3/dist-packages/nbd.py');

let served: Served;
beforeAll(async () => {
  if (HAS_BINDING) served = await Served.start('--export', 'disk=64M');
});
afterAll(() => served?.stop());

/** libnbd's own checks of what a server sends are strict: it hangs up at the first wrong chunk. */
describe.skipIf(!HAS_BINDING)('libnbd', () => {
  const script = (body: string) =>
    python(
      `
import nbd, sys, threading
uri, path = sys.argv[1], sys.argv[2]
MiB = 1 << 20
def connect():
    h = nbd.NBD()
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.connect_uri(uri)
    return h
${body}
print('ok')
`,
      served.uri('disk'),
      served.path('nbd.sock'),
    );

  test('structured reads: chunks cover the range once, DF gives one', async () => {
    expect(
      await script(`
h = connect()
assert h.get_structured_replies_negotiated()
data = bytes(i % 251 for i in range(3 * MiB))
h.pwrite(data, MiB)
def read(flags):
    seen = []
    def chunk(buf, offset, status, error):
        seen.append((offset, len(buf), status))
    got = h.pread_structured(4 * MiB, 0, chunk, flags)
    assert got == bytes(MiB) + data
    seen.sort()
    at = 0
    for offset, length, status in seen:
        assert offset == at, seen
        at += length
    assert at == 4 * MiB
    return len(seen)
assert read(0) > 1
assert read(nbd.CMD_FLAG_DF) == 1
h.shutdown()
`),
    ).toBe('ok');
  });

  test('block status: runs cover the device, REQ_ONE gives one, trimmed becomes a hole', async () => {
    expect(
      await script(`
h = connect()
h.trim(64 * MiB, 0)
h.pwrite(b'x' * 65536, 8 * MiB)
def status(count, offset, flags=0):
    runs = []
    def extent(context, at, entries, error):
        assert context == 'base:allocation' and at == offset
        runs.extend(zip(entries[0::2], entries[1::2]))
    h.block_status(count, offset, extent, flags)
    return runs
assert status(64 * MiB, 0) == [(8 * MiB, 3), (65536, 0), (56 * MiB - 65536, 3)], status(64 * MiB, 0)
assert status(60 * MiB, 4 * MiB, nbd.CMD_FLAG_REQ_ONE) == [(4 * MiB, 3)]
assert status(512, 8 * MiB) == [(512, 0)]
h.zero(65536, 8 * MiB, nbd.CMD_FLAG_NO_HOLE)
assert status(56 * MiB, 8 * MiB)[0] == (65536, 0)
h.zero(65536, 8 * MiB)
assert status(64 * MiB, 0) == [(64 * MiB, 3)]
h.shutdown()
`),
    ).toBe('ok');
  });

  test('flush on one connection, reads on another: multi-conn', async () => {
    expect(
      await script(`
handles = [connect() for _ in range(4)]
assert all(h.can_multi_conn() for h in handles)
for round in range(20):
    for i, h in enumerate(handles):
        h.pwrite(bytes([round * 4 + i]) * 4096, i * 4096)
    handles[round % 4].flush()
    for i in range(4):
        assert handles[(i + 1) % 4].pread(4096, i * 4096) == bytes([round * 4 + i]) * 4096
for h in handles: h.shutdown()
`),
    ).toBe('ok');
  });

  test('errors come as what the specification says', async () => {
    expect(
      await script(`
import errno
h = connect()
h.set_strict_mode(0)
def fails(call):
    try: call()
    except nbd.Error as e: return e.errnum
    return 0
size = h.get_size()
assert fails(lambda: h.pread(512, size)) == errno.EINVAL
assert fails(lambda: h.pwrite(b'x' * 1024, size - 512)) == errno.ENOSPC
assert fails(lambda: h.zero(1024, size - 512)) == errno.ENOSPC
assert fails(lambda: h.trim(1024, size - 512)) == errno.EINVAL
assert fails(lambda: h.pread(100, 0)) == errno.EINVAL
assert fails(lambda: h.pwrite(b'x' * 512, 100)) == errno.EINVAL
assert fails(lambda: h.cache(512, size)) == errno.EINVAL
assert fails(lambda: h.pread(512, 0, nbd.CMD_FLAG_FAST_ZERO)) == errno.EINVAL
assert fails(lambda: h.pread(512, 0)) == 0
assert fails(lambda: h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_FUA)) == 0
h.shutdown()
`),
    ).toBe('ok');
  });

  test('old manners: EXPORT_NAME, zeroes, no structured replies', async () => {
    expect(
      await script(`
for flags in (0, nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE, nbd.HANDSHAKE_FLAG_NO_ZEROES):
    h = nbd.NBD()
    h.set_handshake_flags(flags)
    h.set_export_name('disk')
    h.set_request_structured_replies(False)
    h.connect_unix(path)
    assert h.get_size() == 64 * MiB
    assert not h.get_structured_replies_negotiated()
    h.pwrite(b'old' + bytes(509), 0)
    assert h.pread(4 * MiB, 0)[:3] == b'old'
    h.shutdown()
`),
    ).toBe('ok');
  });

  test('haggling: list, info before go, meta contexts, abort', async () => {
    expect(
      await script(`
h = nbd.NBD()
h.set_opt_mode(True)
h.connect_unix(path)
names = []
assert h.opt_list(lambda name, text: names.append((name, text))) == 1
assert names == [('disk', 'disk in memory')], names
h.set_full_info(True)
h.set_export_name('disk')
h.opt_info()
assert h.get_size() == 64 * MiB and h.get_canonical_export_name() == 'disk'
assert h.get_export_description() == 'disk in memory'
contexts = []
h.add_meta_context('base:')
h.opt_list_meta_context(lambda name: contexts.append(name))
assert contexts == ['base:allocation']
h.set_export_name('nope')
try:
    h.opt_info()
    assert False
except nbd.Error: pass
h.clear_meta_contexts()
h.add_meta_context('base:allocation')
h.set_export_name('')
h.opt_go()
assert h.can_meta_context('base:allocation')
assert h.pread(512, 0) is not None
h.shutdown()
h = nbd.NBD()
h.set_opt_mode(True)
h.connect_unix(path)
h.opt_abort()
`),
    ).toBe('ok');
  });

  test('asynchronous: hundreds of requests of all kinds in flight', async () => {
    expect(
      await script(`
import random
random.seed(7)
h = connect()
model = bytearray(h.pread(16 * MiB, 0))
for round in range(10):
    done = [0]
    slots = random.sample(range(64), 48)
    keep = []
    for slot in slots:
        offset, length = slot * 262144, random.randrange(1, 512) * 512
        kind = random.randrange(4)
        def ok(error):
            assert error.value == 0
            done[0] += 1
            return 1
        if kind < 2:
            data = bytes([random.randrange(256)]) * length
            buf = nbd.Buffer.from_bytearray(bytearray(data))
            model[offset:offset + length] = data
            h.aio_pwrite(buf, offset, ok, nbd.CMD_FLAG_FUA if kind else 0)
        elif kind == 2:
            model[offset:offset + length] = bytes(length)
            h.aio_zero(length, offset, ok)
        else:
            buf = nbd.Buffer(length)
            want = bytes(model[offset:offset + length])
            def check(error, buf=buf, want=want):
                assert error.value == 0
                assert buf.to_bytearray() == want
                done[0] += 1
                return 1
            h.aio_pread(buf, offset, check)
        keep.append(buf)
    while done[0] < len(slots): h.poll(-1)
assert h.pread(16 * MiB, 0) == bytes(model)
h.shutdown()
`),
    ).toBe('ok');
  });
});
