import { readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { CreateSpec } from '../src/protocol/index.js';
import { medianAndMost } from './figures.js';
import { OwnCluster } from './own-cluster.js';

const USAGE = `usage: npm run huge -- [--size TIB] [--rounds N]

  How long it takes to create, snapshot and clone a volume that is far larger than any disk here, on three storage servers of their
  own, nobody having it open. None of it may make a chunk: that is looked at too.

  --size TIB     default 16
  --rounds N     of each layout (default 10)

  npm run huge
`;
/** What is promised, see docs/snapshots. */
const MAX_MS = 100;
const LAYOUTS: Record<string, Partial<CreateSpec>> = {
  'local, 2 replicas, chunks of 1 GiB': { replicas: 2 },
  'spread, 3 replicas, chunks of 1 GiB': { replicas: 3, stripeWidth: 'all' },
  'spread, 2 replicas, chunks of 1 MiB': { replicas: 2, stripeWidth: 'all', chunkSizeBytes: 2 ** 20 },
};

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '16' },
    rounds: { type: 'string', default: '10' },
    help: { type: 'boolean', default: false },
  },
});

async function timed<T>(into: number[], work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  const result = await work();
  into.push(performance.now() - startedMs);
  return result;
}

/** Files of chunks, wherever a server keeps them. */
function chunkFiles(dir: string): string[] {
  const all = readdirSync(dir, { recursive: true, encoding: 'utf8' });
  return all.filter((path) => /\/chunks\/..\/[^/]+\/\d+\.\d+$/.test(path));
}

async function measure({ client }: OwnCluster, label: string, layout: Partial<CreateSpec>): Promise<void> {
  const took: Record<'create' | 'snapshot' | 'clone', number[]> = { create: [], snapshot: [], clone: [] };
  for (let round = 0; round < Number(values.rounds); round++) {
    const name = `${label.replace(/[^a-z0-9]+/gi, '-')}-${round}`;
    const spec: CreateSpec = {
      name,
      sizeBytes: Number(values.size) * 2 ** 40,
      chunkSizeBytes: 2 ** 30,
      replicas: 2,
      minReplicas: 1,
      stripeWidth: 1,
      failureDomain: 'ost',
      near: null,
      onDegraded: 'pause',
      ...layout,
    };
    const change = { kind: 'snapshot' as const, name: 's' };
    const { headVersion: version } = await timed(took.create, () => client.createVolume(spec)).then(
      (created) => created.volume,
    );
    await timed(took.snapshot, () => client.changeVolume(name, change, { timeoutMs: 20_000 }));
    await timed(took.clone, () => client.cloneVolume({ ref: name, version, name: `${name}-clone` }));
  }
  const cells = Object.values(took).map((ms) => medianAndMost(ms, 1));
  console.log(`| ${label} | ${cells.join(' | ')} |`);
  if (Math.max(...Object.values(took).flat()) > MAX_MS) process.exitCode = 1;
}

if (values.help) console.log(USAGE);
else {
  await OwnCluster.with('replicated3', undefined, async (cluster) => {
    const before = chunkFiles(cluster.dir).length;
    console.log('| layout | create, ms | snapshot, ms | clone, ms |');
    console.log('|---|---|---|---|');
    for (const [label, layout] of Object.entries(LAYOUTS)) await measure(cluster, label, layout);
    const made = chunkFiles(cluster.dir).length - before;
    console.log(`chunks made: ${made}`);
    if (made > 0) process.exitCode = 1;
  });
}
