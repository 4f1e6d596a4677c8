import type { CaseResult, Spread, SubjectResult } from './run-case.js';

/** What was measured of one kind. */
export interface KindReport {
  kind: string;
  title: string;
  notes: string[];
  /** Who could not be run at all, and why. */
  skipped: { peer: string; reason: string }[];
  results: CaseResult[];
}

const HEADER = [
  'case',
  'server',
  '1000 op/s: median (min - max)',
  'MB/s',
  'ratio',
  'CPU us/op: median (min - max)',
  'ratio',
  'p50',
  'p95',
  'p99',
  'p99.9 us',
];

export function markdown(title: string, notes: readonly string[], kinds: readonly KindReport[]): string {
  const lines = [`# ${title}`, '', ...notes.map((note) => `- ${note}`)];
  for (const kind of kinds) lines.push('', ...section(kind));
  return `${lines.join('\n')}\n`;
}

function section({ title, notes, skipped, results }: KindReport): string[] {
  const lines = [`## ${title}`, '', ...notes.map((note) => `- ${note}`)];
  for (const { peer, reason } of skipped) lines.push(`- **skipped: ${peer}**: ${reason}`);
  if (results.length === 0) return lines;
  lines.push('', row(HEADER), row(HEADER.map(() => '---')));
  for (const result of results) {
    const first = result.subjects[0]!;
    for (const one of result.subjects) lines.push(row(cells(result, first, one)));
    for (const { subject, reason } of result.failed) {
      lines.push(row([result.case.name, subject, `failed: ${reason}`, '', '', '', '', '', '', '', '']));
    }
  }
  if (results.some(({ subjects }) => subjects.some((one) => one.limitedByLoad))) {
    lines.push('', '\\* the load used its whole CPU: this server may be able to do more.');
  }
  return lines;
}

function cells(result: CaseResult, first: SubjectResult, one: SubjectResult): string[] {
  const rate = one.operationsPerSecond;
  const cpu = one.serverCpuUsPerOperation;
  const isFirst = one === first;
  return [
    isFirst ? result.case.name : '',
    one.subject,
    `${spreadText(rate, thousands)}${one.limitedByLoad ? ' *' : ''}`,
    ((rate.median * result.case.blockBytes) / 1e6).toFixed(0),
    isFirst ? '' : (first.operationsPerSecond.median / rate.median).toFixed(2),
    spreadText(cpu, (value) => value.toFixed(1)),
    isFirst ? '' : (first.serverCpuUsPerOperation.median / cpu.median).toFixed(2),
    ...[one.p50Us, one.p95Us, one.p99Us, one.p999Us].map(({ median }) => median.toFixed(0)),
  ];
}

const row = (of: readonly string[]) => `| ${of.join(' | ')} |`;

const spreadText = ({ median, min, max }: Spread, text: (value: number) => string) =>
  `${text(median)} (${text(min)} - ${text(max)})`;

function thousands(value: number): string {
  return (value / 1000).toFixed(value < 10_000 ? 2 : 1);
}
