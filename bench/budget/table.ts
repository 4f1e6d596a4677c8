import type { StageFigures } from '../../src/common/trace.js';
import type { Floor } from './floors.js';

/** One line of a budget. */
export interface BudgetRow {
  stage: string;
  us: number;
  /** What the kernel alone takes for it. */
  floor: { name: string; us: number } | null;
}

export type Operation = 'read' | 'write' | 'flush';

export interface BudgetInput {
  front: 'nbd' | 'vhost';
  operation: Operation;
  /** What the client saw, in the mean, at queue depth 1. */
  clientUs: number;
  stages: readonly StageFigures[];
  floors: readonly Floor[];
}

/** Stages one after the other, which add up to what the client saw: what no mark lies between is told by difference. */
export function budget({ front, operation, clientUs, stages, floors }: BudgetInput): BudgetRow[] {
  const mean = (site: string, stage: string) => meanOf(stages, site, operation, stage);
  const floor = (name: string) => {
    const found = floors.find((one) => one.name === name);
    return found === undefined ? null : { name, us: found.meanUs };
  };
  const rows: BudgetRow[] = [];
  const add = (stage: string, us: number | null, name?: string) => {
    if (us !== null) rows.push({ stage, us, floor: name === undefined ? null : floor(name) });
  };
  const echoed = operation === 'read' ? 'read' : 'write';
  const [into, out] =
    front === 'nbd' ? ['request to volume', 'answer to kernel'] : ['chain to volume', 'answer to ring'];
  const frontUs = mean(front, 'all of it');
  const volumeUs = mean(front, 'volume');
  const replicaUs = mean('last replica', 'sent to answered');
  if (frontUs === null || volumeUs === null || replicaUs === null) return [];
  if (front === 'nbd')
    add('client, sockets and wake-ups', clientUs - frontUs, `echo of a ${echoed} over a Unix socket`);
  else add('guest, kick and call', clientUs - frontUs);
  add(`${front}: ${into}`, mean(front, into!));
  add('client library', volumeUs - replicaUs);
  const local = mean('ost in process', 'all of it');
  const remote = mean('ost', 'all of it');
  if (local !== null) add('call of the OST', replicaUs - local);
  else if (remote !== null) {
    add('to the OST and back, sockets and wake-ups', replicaUs - remote, `echo of a ${echoed} over TCP`);
  }
  const site = local === null ? 'ost' : 'ost in process';
  if (operation === 'flush') add('OST: flush', local ?? remote, 'fdatasync of one block');
  else {
    add('OST: to the file', mean(site, local === null ? 'frame to file' : 'call to file'));
    add('OST: file', mean(site, 'file'), `p${operation}, in the page cache`);
    add('OST: file to answer', mean(site, 'file to answer'));
    add('OST: answer to kernel', mean(site, 'answer to kernel'));
  }
  add(`${front}: ${out}`, mean(front, out!));
  return rows;
}

/** Over all processes, weighted by how many each saw. */
function meanOf(stages: readonly StageFigures[], site: string, kind: string, stage: string): number | null {
  let count = 0;
  let sum = 0;
  for (const one of stages) {
    if (one.site !== site || one.kind !== kind || one.stage !== stage) continue;
    count += one.count;
    sum += one.count * one.meanUs;
  }
  return count === 0 ? null : sum / count;
}

export function budgetLines(title: string, clientUs: number, rows: readonly BudgetRow[]): string[] {
  const cells = rows.map(
    ({ stage, us, floor }) =>
      `| ${stage} | ${us.toFixed(1)} | ${floor === null ? '' : `${floor.us.toFixed(1)} (${floor.name})`} |`,
  );
  return [
    `### ${title}: ${clientUs.toFixed(0)} us`,
    '',
    '| stage | us | floor, us |',
    '|---|---|---|',
    ...cells,
    '',
  ];
}
