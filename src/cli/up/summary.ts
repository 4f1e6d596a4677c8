import { accessSync, constants } from 'node:fs';
import { delimiter, join, relative } from 'node:path';
import { formatSizeBytes } from '../../common/units.js';
import type { ObjectInfo } from '../../protocol/index.js';
import { qemuCommand, shellWord } from '../gateway/print.js';
import { factLines } from '../output.js';
import { programPath } from '../program-path.js';
import type { UpPlan } from './plan.js';
import { s3EnvFile } from './s3-key.js';

/** What people read when a cluster is up. */
export function upSummary(
  plan: UpPlan,
  volumes: readonly ObjectInfo[],
  pids: Record<string, number>,
): string[] {
  const file = join(plan.dir, 'cluster.toml');
  const found = relative(process.cwd(), file) === join('.rawstor', 'cluster.toml');
  const flag = found ? '' : ` --location ${shellWord(plan.dir)}`;
  const volume = invocation('rawstor-volume');
  const facts: [string, string][] = [
    ['data', `${plan.dir} (kept when this ends; logs in logs/)`],
    ['status page', plan.statusUrl],
    ['S3', `${plan.s3Url} (access key in ${s3EnvFile(plan)})`],
    ['location', found ? `${file} (found by itself from here)` : file],
  ];
  for (const one of volumes) {
    const copies = `${one.replicas} ${one.replicas === 1 ? 'replica' : 'replicas'}`;
    facts.push(['volume', `${one.name}, ${formatSizeBytes(one.sizeBytes)}, ${copies}`]);
  }
  const lines = [
    `rawstor is up: ${plan.osts} ${plan.osts === 1 ? 'OST' : 'OSTs'}, MDS, MGS, NBD and S3 gateway, ${Object.keys(pids).length} processes.`,
    '',
    ...factLines(facts, '  '),
    '',
    'Another volume:',
    `  ${volume} create vm2 --size 20G${flag}`,
  ];
  lines.push('', 'A bucket, and a disk of an image in it:');
  lines.push(`  . ${shellWord(s3EnvFile(plan))}`);
  lines.push(`  ${invocation('rawstor')} s3 bucket set images --image on${flag}`);
  lines.push(`  aws --endpoint-url ${plan.s3Url} s3 cp debian.raw s3://images/debian.raw`);
  lines.push(`  ${volume} create web1 --from s3://images/debian.raw${flag}`);
  const first = volumes[0];
  if (first !== undefined) {
    const address = `unix:${plan.nbdSocket}`;
    lines.push('', `A guest on ${first.name} (empty until something is installed or imported):`);
    lines.push(`  ${qemuCommand({ address, name: first.name }, 'auto')}`);
  }
  lines.push('');
  lines.push(
    'Each OST counts as a host of its own (labels host=up-1 and so on), so that replicas work on one',
  );
  lines.push('machine; they share its disk, so this protects from nothing that breaks the whole machine.');
  lines.push('Ctrl-C ends it.');
  return lines;
}

/** How a program of ours is called from the shell this one was called from. */
function invocation(program: string): string {
  for (const dir of (process.env.PATH ?? '').split(delimiter)) {
    try {
      if (dir === '') continue;
      accessSync(join(dir, program), constants.X_OK);
      return program;
    } catch {
      // Not in this one.
    }
  }
  const { path, compiled } = programPath(program);
  return `${compiled ? 'node' : 'npx tsx'} ${shellWord(relative(process.cwd(), path))}`;
}
