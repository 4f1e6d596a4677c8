import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { libvirtDisk, qemuCommand, shellWord, uriOf } from '../../../src/cli/gateway/print.js';
import { address, durationMs, labels, list, size, wholeNumber } from '../../../src/cli/options.js';
import { Output, tableLines } from '../../../src/cli/output.js';
import { Progress, progressLine } from '../../../src/cli/progress.js';
import { Histogram } from '../../../src/common/histogram.js';

const GiB = 1024 ** 3;

describe('values of options', () => {
  it('are read', () => {
    expect(size('10G')).toBe(10 * GiB);
    expect(durationMs('30')).toBe(30_000);
    expect(durationMs('1.5m')).toBe(90_000);
    expect(durationMs('20ms')).toBe(20);
    expect(address('h:1')).toBe('tcp://h:1');
    expect(list(address)('a:1,b:2', ['x'])).toEqual(['x', 'tcp://a:1', 'tcp://b:2']);
    expect(labels('host=a,rack=r 1', { rack: 'old', row: '2' })).toEqual({
      host: 'a',
      rack: 'r 1',
      row: '2',
    });
    expect(wholeNumber(1, 3)('3')).toBe(3);
  });

  it.each([
    () => durationMs('0'),
    () => durationMs('5 days'),
    () => durationMs('99999999h'),
    () => address('h'),
    () => labels('host', undefined),
    () => labels('host=', undefined),
    () => wholeNumber(1, 3)('0'),
    () => wholeNumber(1, 3)('4'),
    () => wholeNumber(1, 3)('1.5'),
    () => wholeNumber(1, 3)('-1'),
    () => wholeNumber(1, 3)(''),
    () => size('ten'),
  ])('are refused: %s', (read) => {
    expect(read).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

function sink(): { stream: Writable; text: () => string } {
  const parts: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      parts.push(String(chunk));
      done();
    },
  });
  return { stream, text: () => parts.join('') };
}

describe('results', () => {
  const rows = [
    { name: 'a', count: 5 },
    { name: 'longer\x1b[2J', count: 12 },
  ];
  const columns = [
    { header: 'NAME', cell: (row: (typeof rows)[0]) => row.name },
    { header: 'N', cell: (row: (typeof rows)[0]) => String(row.count), right: true },
  ];

  it('are tables without control characters', () => {
    expect(tableLines(rows, columns)).toEqual(['NAME         N', 'a            5', 'longer\uFFFD[2J  12']);
    expect(tableLines([], columns)).toEqual(['NAME  N']);
  });

  it('are JSON as a whole or by lines', () => {
    const whole = sink();
    new Output(whole.stream, 'json').list(rows, columns);
    expect(JSON.parse(whole.text())).toEqual(rows);
    const lines = sink();
    new Output(lines.stream, 'jsonl').list(rows, columns);
    expect(
      lines
        .text()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(rows);
    const one = sink();
    new Output(one.stream, 'jsonl').one({ a: 1 }, () => ['for people']);
    expect(one.text()).toBe('{"a":1}\n');
  });
});

describe('progress', () => {
  it('is a line with bar, sizes, rate and time left', () => {
    expect(progressLine('import x', GiB, 4 * GiB, 10)).toBe(
      'import x [######..................]  25 %  1 GiB of 4 GiB  102.4 MiB/s  0:30',
    );
    expect(progressLine('x', 0, 0, 0)).toContain('100 %');
    expect(progressLine('x', 1, 3600 * 3, 1)).toContain('2:59:59');
  });

  it('is drawn on terminals only, not too often, and taken away', () => {
    let nowMs = 0;
    const draw = (isTTY: boolean, wanted: boolean) => {
      const written: string[] = [];
      const target = { isTTY, columns: 40, write: (text: string) => written.push(text) };
      const progress = new Progress(target, wanted, 'copy', 1000, () => nowMs);
      for (let i = 0; i < 5; i++) {
        progress.update(i * 100);
        nowMs += 60;
      }
      progress.end();
      progress.end();
      return written;
    };
    const shown = draw(true, true);
    expect(shown).toHaveLength(4);
    for (const text of shown) expect(text.length).toBeLessThanOrEqual(40 + '\r\x1b[K'.length);
    expect(shown.at(-1)).toBe('\r\x1b[K');
    expect(draw(false, true)).toEqual([]);
    expect(draw(true, false)).toEqual([]);
  });
});

describe('what attach prints', () => {
  const unix = { address: 'unix:/a b/s,1.sock', name: 'v' };
  it('is an NBD URI', () => {
    expect(uriOf(unix)).toBe('nbd+unix:///v?socket=/a%20b/s%2C1.sock');
  });

  it('is one QEMU command, quoted twice: for QEMU and for the shell', () => {
    const line = qemuCommand(unix, 'tcg');
    expect(line).toMatch(/^qemu-system-x86_64 -machine q35,accel=tcg /);
    expect(line).toContain("'if=virtio,format=raw,cache=none,discard=unmap,file.driver=nbd,");
    expect(line).toContain('file.server.path=/a b/s,,1.sock,file.export=v,file.reconnect-delay=30');
    expect(qemuCommand({ address: 'tcp://[::1]:10809', name: 'v' }, 'kvm')).toContain(
      'file.server.type=inet,file.server.host=::1,file.server.port=10809',
    );
    // QEMU refuses a snapshot that it may write to.
    expect(qemuCommand({ ...unix, name: 'v@s' }, 'tcg')).toContain('cache=none,readonly=on,file');
    expect(shellWord("a'b")).toBe("'a'\\''b'");
    expect(shellWord('a,b=c')).toBe('a,b=c');
  });

  it('is a disk of libvirt', () => {
    expect(libvirtDisk({ address: 'tcp://h:1', name: "a'<b" })).toContain("name='a&apos;&lt;b'");
    expect(libvirtDisk({ address: 'tcp://h:1', name: 'v' })).toContain("<host name='h' port='1'/>");
    expect(libvirtDisk({ address: 'tcp://h:1', name: 'v' })).not.toContain('<readonly/>');
    expect(libvirtDisk({ address: 'tcp://h:1', name: 'v@s' })).toContain('<readonly/>');
  });
});

describe('the histogram', () => {
  it('is near the true quantiles', () => {
    const histogram = new Histogram();
    for (let us = 1; us <= 10_000; us++) histogram.record(us);
    expect(histogram.count).toBe(10_000);
    expect(histogram.meanUs).toBe(5000.5);
    expect(histogram.maxUs).toBe(10_000);
    for (const quantile of [0.01, 0.5, 0.99]) {
      const found = histogram.quantileUs(quantile);
      expect(found).toBeGreaterThanOrEqual(quantile * 10_000);
      expect(found).toBeLessThanOrEqual(quantile * 10_000 * 1.05);
    }
    expect(histogram.quantileUs(1)).toBe(10_000);
    expect(new Histogram().quantileUs(0.5)).toBe(0);
  });
});
