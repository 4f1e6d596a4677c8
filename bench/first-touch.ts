import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RawNbd, request } from '../test/fixtures/nbd-client.js';
import { startRawstor } from './ours/cluster.js';

/**
 * What the intent costs (docs/consistency, I2): a 4 KiB write to a region that this session has not touched waits until
 * the region's epoch is durable on every replica; the next ones to it do not. `npm run first-touch`
 */

const REGION_BYTES = 4 * 2 ** 20;
const BLOCK_BYTES = 4096;
const REGIONS = 512;
const KINDS = ['local', 'replicated3'] as const;
const DEPTHS = [1, 32];

/** Writes a block of every region once, `depth` at a time. @returns how long each took, in ms */
async function pass(nbd: RawNbd, firstRegion: number, inRegion: number, depth: number): Promise<number[]> {
  const data = Buffer.alloc(BLOCK_BYTES, 7);
  const sentAtMs: number[] = [];
  const tookMs: number[] = [];
  const send = (at: number) => {
    sentAtMs[at] = performance.now();
    const offset = (firstRegion + at) * REGION_BYTES + inRegion;
    nbd.send(request(1, offset, BLOCK_BYTES, { cookie: at }), data);
  };
  for (let at = 0; at < depth; at++) send(at);
  for (let next = depth; tookMs.length < REGIONS; ) {
    const { errno, cookie } = await nbd.simpleReply();
    if (errno !== 0) throw new Error(`a write failed with ${errno}`);
    tookMs.push(performance.now() - sentAtMs[cookie]!);
    if (next < REGIONS) send(next++);
  }
  return tookMs;
}

function cells(tookMs: readonly number[]): string {
  const sorted = [...tookMs].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)]!;
  return [at(0.5), at(0.99)].map((ms) => ms.toFixed(2)).join(' | ');
}

async function main(): Promise<void> {
  const cache = fileURLToPath(new URL('../.cache/bench', import.meta.url));
  await mkdir(cache, { recursive: true });
  console.log(`${REGIONS} regions, 4 KiB each, in ms`);
  console.log('| volume | depth | first touch, median | 99 % | again, median | 99 % |');
  console.log('|---|---|---|---|---|---|');
  for (const kind of KINDS) {
    const dir = await mkdtemp(join(cache, 'touch-'));
    const sizeBytes = (DEPTHS.length + 1) * REGIONS * REGION_BYTES;
    const subject = await startRawstor(kind)({ dir, sizeBytes });
    try {
      const socket = new URL(subject.uri.replace(/^nbd\+unix:/, 'http:')).searchParams.get('socket');
      const nbd = await RawNbd.open(`unix:${socket}`, { name: 'bench' });
      // Compiles the code and creates nothing of what is measured.
      for (let i = 0; i < 4; i++) await pass(nbd, DEPTHS.length * REGIONS, i * BLOCK_BYTES, 8);
      for (const [index, depth] of DEPTHS.entries()) {
        const first = await pass(nbd, index * REGIONS, 0, depth);
        const again = await pass(nbd, index * REGIONS, BLOCK_BYTES, depth);
        console.log(`| ${kind} | ${depth} | ${cells(first)} | ${cells(again)} |`);
      }
      nbd.destroy();
    } finally {
      await subject.stop();
      await rm(dir, { recursive: true, force: true });
    }
  }
}

await main();
