import { expect, test } from 'vitest';
import { budget } from '../../../bench/budget/table.js';
import { CASES } from '../../../bench/cases.js';
import { chart } from '../../../bench/chart.js';
import { type KindReport, markdown } from '../../../bench/report.js';
import { summarise } from '../../../bench/run-case.js';
import type { Sample } from '../../../bench/types.js';
import type { StageFigures } from '../../../src/common/trace.js';

const sample = (operationsPerSecond: number, serverCpuUsPerOperation: number): Sample => ({
  operationsPerSecond,
  bytesPerSecond: operationsPerSecond * 4096,
  serverCpuUsPerOperation,
  loadCpuShare: 0.5,
  p50Us: 10,
  p95Us: 20,
  p99Us: 30,
  p999Us: 40,
  maxUs: 50,
});

const REPORT: KindReport = {
  kind: 'local',
  title: 'one copy',
  notes: ['quiet'],
  skipped: [{ peer: 'ceph', reason: 'it has no disk' }],
  results: [
    {
      case: CASES[0]!,
      subjects: [
        summarise('ours', [sample(3000, 5), sample(1000, 4), sample(2000, 6)]),
        summarise('peer', [sample(1000, 10)]),
      ],
      failed: [{ subject: 'third', reason: 'it hung up' }],
    },
  ],
};

test('a report tells median, range, both ratios, percentiles, who was skipped and who failed', () => {
  const text = markdown('Side by side', ['a note'], [REPORT]);
  expect(text).toContain('- **skipped: ceph**: it has no disk');
  expect(text).toContain(
    '| read 4k q1 | ours | 2.00 (1.00 - 3.00) | 8 |  | 5.0 (4.0 - 6.0) |  | 10 | 20 | 30 | 40 |',
  );
  expect(text).toContain('|  | peer | 1.00 (1.00 - 1.00) | 4 | 2.00 | 10.0 (10.0 - 10.0) | 0.50 |');
  expect(text).toContain('| read 4k q1 | third | failed: it hung up |');
});

test('the chart has a bar for each peer and case, as a well-formed picture', () => {
  const svg = chart('a < b', [REPORT]);
  expect(svg).toContain('read 4k q1 / peer');
  expect(svg).toContain('>2.00<');
  expect(svg).toContain('a &lt; b');
  expect(svg.match(/<text/g)!.length).toBe(svg.match(/<\/text>/g)!.length);
});

const stage = (site: string, name: string, meanUs: number, count = 10): StageFigures => ({
  site,
  kind: 'read',
  stage: name,
  count,
  meanUs,
  p50Us: 0,
  p99Us: 0,
});

test('the stages of a budget add up to what the client saw, those of several processes weighted', () => {
  const rows = budget({
    front: 'nbd',
    operation: 'read',
    clientUs: 100,
    floors: [{ name: 'pread, in the page cache', count: 1, meanUs: 2, p50Us: 2, p99Us: 2, cpuUs: 2 }],
    stages: [
      stage('nbd', 'request to volume', 3),
      stage('nbd', 'volume', 60),
      stage('nbd', 'answer to kernel', 7),
      stage('nbd', 'all of it', 70),
      stage('last replica', 'sent to answered', 50),
      stage('ost', 'frame to file', 4),
      stage('ost', 'file', 5, 30),
      stage('ost', 'file', 9, 10),
      stage('ost', 'file to answer', 2),
      stage('ost', 'answer to kernel', 8),
      stage('ost', 'all of it', 20),
    ],
  });
  const us = (text: string) => rows.find((row) => row.stage.startsWith(text))?.us;
  expect(us('client,')).toBe(30);
  expect(us('client library')).toBe(10);
  expect(us('to the OST')).toBe(30);
  expect(us('OST: file')).toBe(6);
  expect(rows.find((row) => row.stage === 'OST: file')!.floor).toEqual({
    name: 'pread, in the page cache',
    us: 2,
  });
  expect(rows.reduce((sum, row) => sum + row.us, 0)).toBe(100);
});
